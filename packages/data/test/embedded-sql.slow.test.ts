import { afterAll, beforeAll } from "vitest";
import { type Database, openEmbedded } from "../src/index.ts";
import { effectsSuite } from "./effects.suite.ts";
import { sqlSuite } from "./sql.suite.ts";

let database: Database;
beforeAll(async () => {
  database = await openEmbedded();
});
afterAll(() => database.close());

sqlSuite("the embedded database", () => database);
effectsSuite("the embedded database", () => database);
