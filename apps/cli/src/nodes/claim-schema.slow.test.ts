import { openEmbedded } from "@holdfast/data";
import { expect, it } from "vitest";
import { claimSchema, schemaFor } from "./cell.ts";

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
