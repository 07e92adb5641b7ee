import { openEmbedded } from "@holdfast/data";
import { expect, it } from "vitest";
import { claimSchema, schemaFor } from "./datacenter-schema.ts";
import { openWorkerDatabase } from "./worker-database.ts";

it("a schema belongs to one datacenter: another whose name gives the same is refused, naming the first", async () => {
  await using database = await openEmbedded({});
  const schema = schemaFor("dc", "eu-west");
  expect(schemaFor("dc", "eu.west")).toBe(schema);
  await database.query(`CREATE SCHEMA ${schema}`);
  for (let start = 0; start < 2; start += 1) await claimSchema({ database, schema, datacenter: "eu-west" });
  await expect(claimSchema({ database, schema, datacenter: "eu.west" })).rejects.toMatchObject({
    name: "UsageError",
    message: expect.stringMatching(/eu\.west would share the schema dc_eu_west with eu-west/),
  });
});

it("workers of two datacenters never share effects: one would be given the results of the other", async () => {
  await using database = await openEmbedded({});
  // As many workers of one as there are.
  await Promise.all([openWorkerDatabase(database, "eu-west"), openWorkerDatabase(database, "eu-west")]);
  await openWorkerDatabase(database, "eu-east");
  await expect(openWorkerDatabase(database, "eu_west")).rejects.toMatchObject({
    name: "UsageError",
    message: expect.stringMatching(/eu_west would share the schema effects_eu_west with eu-west/),
  });
});
