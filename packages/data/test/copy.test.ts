import { afterAll, beforeAll } from "vitest";
import { type Database, openEmbedded } from "../src/index.ts";
import { copySuite } from "./copy.suite.ts";

let database: Database;
beforeAll(async () => {
  database = await openEmbedded();
});
afterAll(() => database?.close());

copySuite("the embedded database", () => database);
