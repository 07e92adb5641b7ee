import { openEmbedded } from "@holdfast/data";
import { silentLogger, systemClock } from "@holdfast/kernel";
import { testJobTable } from "../../testing/job-table.suite.ts";
import { createSqlJobStore } from "./sql-job-store.ts";

testJobTable("embedded PostgreSQL", {
  open: async () => {
    const sql = await openEmbedded({});
    const store = await createSqlJobStore({
      sql,
      schema: "jobs_suite",
      clock: systemClock,
      logger: silentLogger,
    });
    return {
      ...store,
      [Symbol.asyncDispose]: async () => {
        await store[Symbol.asyncDispose]();
        await sql.close();
      },
    };
  },
});
