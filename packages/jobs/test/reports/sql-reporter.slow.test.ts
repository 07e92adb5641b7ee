import { openEmbedded } from "@holdfast/data";
import { testSqlReporter } from "./sql-reporter.suite.ts";

testSqlReporter(async () => {
  const database = await openEmbedded({});
  return { database, close: () => database.close() };
});
