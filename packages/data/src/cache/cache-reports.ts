import type { Abortable, Clock } from "@holdfast/kernel";
import type { Redis } from "../redis/open-redis.ts";
import type { CacheStats } from "./cache-counters.ts";
import { type CacheServer, describeServer } from "./cache-server.ts";
import { readCacheScripts } from "./redis-scripts.ts";

/** One for all caches of a Redis, so that whoever looks needs to know no names. */
const REPORTS_KEY = "holdfast:cache-reports";
const KEPT_MS = 3_600_000;
/** How often a cache reports. */
export const REPORT_EVERY_MS = 5_000;
/** Three reports missed: the process has ended, or cannot reach Redis. */
const SHOWN_FOR_S = (4 * REPORT_EVERY_MS) / 1_000;

/** What one cache of one process last said of itself. */
export interface CacheReport {
  readonly cache: string;
  /** Host, process and cache; unique. */
  readonly instance: string;
  readonly stats: CacheStats;
}

/** @throws RedisConnectError (retryable). */
export const reportCache = async (redis: Redis, report: CacheReport): Promise<void> => {
  const scripts = await readCacheScripts();
  const field = `${report.cache} ${report.instance}`;
  await redis.runScript(
    scripts["report-cache"],
    [REPORTS_KEY],
    [field, JSON.stringify(report), String(KEPT_MS)],
  );
};

/**
 * What every cache that lives in this Redis said of itself within the last 20 s, whatever process it is in: each
 * reports every 5 s. By cache, then by process.
 * @throws RedisConnectError (retryable).
 */
export const readCacheReports = async (
  redis: Redis,
  options: Abortable = {},
): Promise<readonly (CacheReport & { readonly ageMs: number })[]> => {
  const scripts = await readCacheScripts();
  const reply = (await redis.runScript(
    scripts["read-cache-reports"],
    [REPORTS_KEY],
    [String(SHOWN_FOR_S)],
    options,
  )) as readonly string[];
  const reports: (CacheReport & { readonly ageMs: number })[] = [];
  for (let index = 0; index < reply.length; index += 2) {
    const report = JSON.parse(reply[index + 1] ?? "{}") as CacheReport;
    reports.push({ ...report, ageMs: Number(reply[index]) * 1_000 });
  }
  const nameOf = ({ cache, instance }: CacheReport): string => `${cache} ${instance}`;
  return reports.sort((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1));
};

/** The server that caches live in, with warnings. @throws RedisConnectError (retryable). */
export const describeCacheServer = (redis: Redis, clock: Clock): Promise<CacheServer> =>
  describeServer(redis, REPORTS_KEY, () => clock.monotonicNow());
