import { checkInteger, checkNumber, checkText, encodeJson } from "../input-checks.ts";
import { type GrantOptions, LEASE_TTL_MAX_MS, LEASE_TTL_MIN_MS } from "./leases.ts";

/** A lease's metadata is shown in lists of a thousand, so it stays small. */
export const METADATA_MAX_BYTES = 8192;
/**
 * How long a lapsed lease stays on record. Until then its holder may still renew it when nobody took it;
 * afterwards the record is swept, or names that are used once would pile up for ever.
 */
export const LAPSED_KEPT_MS = 86_400_000;

export const checkLeaseName = (name: string): void => checkText("lease.name", name, 512);

export const checkTtl = (field: string, ttlMs: number): void =>
  checkNumber(field, ttlMs, LEASE_TTL_MIN_MS, LEASE_TTL_MAX_MS);

/** Checks a grant's input and returns its metadata as JSON text. @throws InvalidInputError, PayloadTooLargeError */
export const checkGrant = (name: string, options: GrantOptions): string => {
  checkLeaseName(name);
  checkText("lease.owner", options.owner, 256);
  checkTtl("lease.ttlMs", options.ttlMs);
  if (options.requestId !== undefined) checkText("lease.requestId", options.requestId, 256);
  if (options.metadata === undefined) return "null";
  return encodeJson("lease.metadata", options.metadata, METADATA_MAX_BYTES);
};

export const LIST_LIMIT_DEFAULT = 1000;
export const LIST_LIMIT_MAX = 10_000;

export const checkLimit = (limit: number | undefined, byDefault: number): number => {
  const value = limit ?? byDefault;
  checkInteger("limit", value, 1, LIST_LIMIT_MAX);
  return value;
};
