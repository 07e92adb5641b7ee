import { createHash } from "node:crypto";

/**
 * JSON with the keys of every object sorted, so that equal values give equal texts. What JSON leaves out
 * (undefined, functions) is left out here too.
 */
export const canonicalJson = (value: unknown): string => JSON.stringify(sorted(value)) ?? "null";

const sorted = (value: unknown): unknown => {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(sorted);
  const record = value as Record<string, unknown>;
  const result: [string, unknown][] = [];
  for (const key of Object.keys(record).sort()) {
    if (record[key] !== undefined) result.push([key, sorted(record[key])]);
  }
  // From entries, so that a key named __proto__ stays an ordinary key.
  return Object.fromEntries(result);
};

/** SHA-256 of the canonical JSON, hexadecimal: tells whether two submissions under one key ask for the same. */
export const payloadHash = (payload: unknown): string =>
  createHash("sha256").update(canonicalJson(payload)).digest("hex");
