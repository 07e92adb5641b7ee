import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { RedisScript } from "@holdfast/coordination/redis";

/** The scripts lie in their own files, which ship in `src`; the way there is the same from `dist/cache`. */
const HERE = new URL("../../src/cache/scripts/", import.meta.url);

const SCRIPT_NAMES = [
  "claim-lease",
  "drop-state",
  "fill-entry",
  "invalidate",
  "open-state",
  "read-cache-reports",
  "release-lease",
  "report-cache",
  "sync-feed",
  "take-ticket",
  "write-entry",
] as const;

export type CacheScripts = Readonly<Record<(typeof SCRIPT_NAMES)[number], RedisScript>>;

let known: Promise<CacheScripts> | undefined;

/** Reads the files once. */
export const readCacheScripts = (): Promise<CacheScripts> => {
  known ??= readFiles();
  return known;
};

const readFiles = async (): Promise<CacheScripts> => {
  const entries = await Promise.all(
    SCRIPT_NAMES.map(async (name) => {
      const text = await readFile(new URL(`${name}.lua`, HERE), "utf8");
      return [name, { name, text, sha1: createHash("sha1").update(text).digest("hex") }] as const;
    }),
  );
  return Object.fromEntries(entries) as CacheScripts;
};
