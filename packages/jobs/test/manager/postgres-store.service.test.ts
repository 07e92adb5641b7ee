import { openPostgres } from "@holdfast/data";
import { silentLogger, systemClock } from "@holdfast/kernel";
import { type PostgresServer, startPostgres } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { afterAll, beforeAll, it } from "vitest";
import { createSqlJobStore } from "../../src/model/job-store/index.ts";
import { testJobTable } from "../../src/testing/job-table.suite.ts";
import { runCoreScenario } from "./core-scenario.ts";

describeService("postgres", "jobs on a PostgreSQL server", () => {
  let server: PostgresServer;
  beforeAll(async () => {
    server = await startPostgres();
  });
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
  });

  const open = async (schema: string) => {
    const sql = await openPostgres({ url: server.url });
    const store = await createSqlJobStore({ sql, schema, clock: systemClock, logger: silentLogger });
    return {
      ...store,
      [Symbol.asyncDispose]: async () => {
        await store[Symbol.asyncDispose]();
        await sql.close();
      },
    };
  };

  testJobTable("PostgreSQL server", { open: () => open("suite") });

  it("go through a failed attempt, a lapsed claim and a killed leader", async () => {
    await runCoreScenario(await open("east"));
  });
});
