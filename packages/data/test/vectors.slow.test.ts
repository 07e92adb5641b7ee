import { afterAll, beforeAll } from "vitest";
import { type Database, openEmbedded } from "../src/index.ts";
import { vectorsSuite } from "./vectors.suite.ts";

let database: Database;
beforeAll(async () => {
  database = await openEmbedded();
});
afterAll(() => database?.close());

vectorsSuite("the embedded database", () => database);
