import { Option } from "commander";
import { UsageError } from "../terminal/problem.ts";

/** Requests of one client, by operation; `off` where every client is trusted. */
export type RateLimits =
  | Readonly<Record<string, { readonly limit: number; readonly windowMs: number }>>
  | "off";

const OPERATIONS = ["job_submit", "job_status", "job_follow", "cancel", "heartbeat"];
const COUNT_MAX = 1_000_000;
const SECONDS_MAX = 3_600;
const FLAG = "--rate-limits";

/** `off`, or `OPERATION=COUNT/SECONDS,…`; what is not named keeps its default. @throws UsageError naming the part that is wrong. */
export const parseRateLimits = (text: string): RateLimits => {
  if (text === "off") return "off";
  const limits: Record<string, { limit: number; windowMs: number }> = {};
  for (const part of text.split(",")) {
    const match = /^([a-z_]+)=(\d+)\/(\d+(?:\.\d+)?)s?$/.exec(part.trim());
    const [, operation = "", count = "", seconds = ""] = match ?? [];
    if (match === null) {
      throw new UsageError(
        `${FLAG} must be "off" or OPERATION=COUNT/SECONDS,… such as job_submit=500/10, got ${JSON.stringify(part)}`,
      );
    }
    if (!OPERATIONS.includes(operation)) {
      throw new UsageError(
        `${FLAG} knows no operation ${JSON.stringify(operation)}; one of: ${OPERATIONS.join(", ")}`,
      );
    }
    if (operation in limits) throw new UsageError(`${FLAG} names ${operation} twice`);
    const limit = Number(count);
    const windowMs = Number(seconds) * 1_000;
    if (limit < 1 || limit > COUNT_MAX || windowMs < 1 || windowMs > SECONDS_MAX * 1_000) {
      throw new UsageError(
        `${FLAG}: ${operation} must be 1 to ${COUNT_MAX} requests in 0.001 to ${SECONDS_MAX} seconds, got ${JSON.stringify(part)}`,
      );
    }
    limits[operation] = { limit, windowMs };
  }
  return limits;
};

export const rateLimitsOption = (): Option =>
  new Option(
    `${FLAG} <limits>`,
    "requests that one client may make: off, or e.g. job_submit=500/10,job_status=1000/10 (count/seconds; default job_submit=50/10)",
  ).argParser(parseRateLimits);
