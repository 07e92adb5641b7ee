import { InvalidInputError } from "@holdfast/kernel";
import { checkBatch, checkInteger, checkNumber, checkText, encodeJson } from "../input-checks.ts";
import type { Json } from "../json.ts";
import { METADATA_MAX_BYTES } from "../lease/grant-checks.ts";
import type { StateChange, StateWrite } from "./states.ts";

export const SNAPSHOT_COUNT_DEFAULT = 100_000;
/** Values that one call of `expire` removes at most. */
export const EXPIRE_MAX_COUNT = 1000;
const TTL_MAX_MS = 31_536_000_000;
const NAMESPACE = /^[A-Za-z0-9_.:-]{1,128}$/;

/** The stream of a namespace's changes. @throws InvalidInputError */
export const stateStream = (namespace: string): string => {
  if (!NAMESPACE.test(namespace)) {
    throw new InvalidInputError("namespace", namespace, "1 to 128 characters of [A-Za-z0-9_.:-]");
  }
  return `state/${namespace}`;
};

export const checkKey = (key: string): void => checkText("key", key, 512);

export const checkSnapshotCount = (maxCount: number | undefined): number => {
  const value = maxCount ?? SNAPSHOT_COUNT_DEFAULT;
  checkInteger("maxCount", value, 1, 1_000_000);
  return value;
};

/** A write with its value as JSON text (the amount of an increment), as every backend takes it. */
export interface EncodedWrite {
  readonly kind: StateWrite["kind"];
  readonly key: string;
  readonly ifRevision: bigint | undefined;
  readonly ttlMs: number | undefined;
  readonly valueText: string | undefined;
  readonly metadataText: string | undefined;
}

/** @throws InvalidInputError, PayloadTooLargeError */
export const encodeWrites = (
  writes: readonly StateWrite[],
  valueMaxBytes: number,
): readonly EncodedWrite[] => {
  checkBatch("writes", writes);
  return writes.map((write) => {
    const { kind, key } = write;
    checkKey(key);
    const ttlMs = kind === "delete" ? undefined : write.ttlMs;
    if (ttlMs !== undefined) checkNumber("ttlMs", ttlMs, 1, TTL_MAX_MS);
    const ifRevision = kind === "increment" ? undefined : write.ifRevision;
    if (ifRevision !== undefined && (typeof ifRevision !== "bigint" || ifRevision < 0n)) {
      throw new InvalidInputError("ifRevision", ifRevision, "a revision, or 0 for none");
    }
    if (kind === "increment") {
      checkInteger("by", write.by, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
    }
    return {
      kind,
      key,
      ifRevision,
      ttlMs,
      valueText:
        kind === "set"
          ? encodeJson(`the value of ${key}`, write.value, valueMaxBytes)
          : kind === "increment"
            ? `${write.by}`
            : undefined,
      metadataText:
        kind === "set" && write.metadata !== undefined
          ? encodeJson(`the metadata of ${key}`, write.metadata, METADATA_MAX_BYTES)
          : undefined,
    };
  });
};

/** A change as it lies in the stream. */
export interface StoredChange {
  /** The key. */
  readonly k: string;
  /** Why it is gone; absent when it was set. */
  readonly d?: "deleted" | "expired";
  readonly v?: Json;
  readonly m?: Json;
  /** Milliseconds left when it was written; null without end. */
  readonly x?: number | null;
  readonly w?: string | null;
}

/** What a change says, or that it cannot be read. */
export const toChange = (revision: bigint, payload: unknown): StateChange => {
  if (typeof payload !== "object" || payload === null) return { kind: "corrupt", key: undefined, revision };
  const { k: key, d: gone, v: value, m: metadata = null, x: ttl, w } = payload as Partial<StoredChange>;
  if (typeof key !== "string") return { kind: "corrupt", key: undefined, revision };
  const writer = typeof w === "string" ? w : undefined;
  if (gone === "deleted" || gone === "expired") return { kind: gone, key, revision, writer };
  if (value === undefined || (ttl !== undefined && ttl !== null && typeof ttl !== "number")) {
    return { kind: "corrupt", key, revision };
  }
  return { kind: "set", key, revision, value, metadata, ttlMs: ttl ?? undefined, writer };
};

const INTEGER = /^-?\d{1,16}$/;

/** The sum as JSON text; undefined where the value is no integer, or the sum is not a safe one. */
export const addTo = (valueText: string | undefined, by: number): string | undefined => {
  if (valueText !== undefined && !INTEGER.test(valueText)) return undefined;
  const sum = Number(valueText ?? 0) + by;
  return Number.isSafeInteger(sum) ? `${sum}` : undefined;
};
