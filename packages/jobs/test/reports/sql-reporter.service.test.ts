import { openPostgres } from "@holdfast/data";
import { startPostgres } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { testSqlReporter } from "./sql-reporter.suite.ts";

describeService("postgres", "a PostgreSQL server", () => {
  testSqlReporter(async () => {
    const server = await startPostgres();
    const database = await openPostgres({ url: server.url });
    return {
      database,
      close: async () => {
        await database.close();
        await server[Symbol.asyncDispose]();
      },
    };
  });
});
