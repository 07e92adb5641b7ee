import { type Abortable, type Clock, InvalidInputError, type Logger, type Random } from "@holdfast/kernel";
import type { Redis } from "../redis/open-redis.ts";
import type { Database } from "../sql/database.ts";
import type { CachePosition } from "./shared-store.ts";

/** Tells how far the primary is, so that reads of replicas can be judged and a failover is noticed. */
export interface PositionSource {
  /**
   * A position at or after everything that was committed before the call. Asks the primary. An answer that takes longer
   * than a second counts as none.
   */
  current(options?: Abortable): Promise<CachePosition>;
}

/**
 * What a session has written: its reads see at least that, once the cache's transaction or `invalidate` has resolved. A
 * session is known again by its object: its first read with a position asks the shared store, later ones with the same
 * object may be given copies of this process. For a session of a cluster see `cacheSession`.
 */
export type CacheSession = Readonly<CachePosition>;

export interface CacheOptions {
  /** Names what processes share. 1 to 64 characters of `[A-Za-z0-9_.-]`. */
  readonly name: string;
  /** Stays the caller's: the cache never closes it. Without, entries live in this process and nobody shares them. */
  readonly redis?: Redis | undefined;
  /** Where transactions run and the outbox lives. Without, `transaction` is refused. */
  readonly sql?: Pick<Database, "query" | "transaction"> | undefined;
  /** Without, what loaders read from replicas is never stored, and a failover of the database is not noticed. */
  readonly positions?: PositionSource | undefined;
  /** Of the outbox. Default "holdfast". */
  readonly schema?: string;
  /** Slots of Redis that the keys are spread over, 1 to 64. More only for a Redis Cluster. Default 1. */
  readonly partitionCount?: number;
  /**
   * How old what a read gives may be, in milliseconds: the newest invalidation that was acknowledged longer ago is
   * always seen. 0 to 60_000; at 0 every read asks Redis. Default 1_000.
   */
  readonly maxStalenessMs?: number;
  /**
   * Copies in this process. Default 10_000 entries, 64 MiB of payload; 0 entries: none. Where Redis is asked all the
   * same, a copy spares reading a text again that has not changed.
   */
  readonly near?: { readonly entryMaxCount?: number; readonly bytesMax?: number };
  /** How long an entry is fresh, shortened by up to `ttlJitter` of it. Default 300_000. */
  readonly ttlMs?: number;
  /** 0 to 1. Default 0.1. */
  readonly ttlJitter?: number;
  /** The same for absent values (`undefined`). Default 30_000. */
  readonly absentTtlMs?: number;
  /** For how long nobody else loads what one loads. Default 10_000. */
  readonly leaseMs?: number;
  /** At this limit a load is aborted and fails with TimeoutError. Default 30_000. */
  readonly loadTimeoutMs?: number;
  /** How long `transaction` waits for the shared cache after its commit. Default 2_000. */
  readonly invalidationWaitMs?: number;
  /** How often the relay looks for invalidations that a writer left behind. Default 500. */
  readonly relayEveryMs?: number;
  /** How often the database is asked for its position, if `positions` is given. Default 1_000. */
  readonly positionEveryMs?: number;
  /** Share of hits that are compared with their source, 0 to 1, and how long a difference must last. Default 0 and 1_000. */
  readonly audit?: { readonly ratio: number; readonly delayMs?: number };
  readonly clock?: Clock;
  readonly random?: Random;
  readonly logger?: Logger;
}

/** What a loader gets. */
export interface LoadContext {
  /** Aborts at `loadTimeoutMs`, or when the cache closes. A reader that goes away does not abort it: others may wait. */
  readonly signal: AbortSignal;
  /** Read only from a replica that has replayed this. Undefined: read from the primary. */
  readonly floor: CachePosition | undefined;
  /**
   * Call it when the value comes from a replica, with the position that the replica had replayed BEFORE the query.
   * Not called: the value counts as read from the primary.
   */
  observed(position: CachePosition): void;
}

export interface GetOptions<T> extends Abortable {
  /**
   * Reads the source. `undefined` means absent, which is cached too. Must read committed data: not in a transaction
   * that is still open, nor in a snapshot from before the call.
   */
  readonly load: (context: LoadContext) => T | Promise<T>;
  /** What else makes the entry invalid, for example the table of a list. The same for each call with this key. At most 16. */
  readonly tags?: readonly string[];
  /** Milliseconds, 1 to 30 days. Default: the cache's. */
  readonly ttlMs?: number;
  /**
   * For how long after its end an entry is served while one reader loads it anew, up to 7 days. Never after an
   * invalidation. Default 0.
   */
  readonly staleMs?: number;
  /**
   * For how long after its end an entry is served when the load fails, up to 7 days. Never after an invalidation.
   * Default 0.
   */
  readonly staleIfErrorMs?: number;
  /** For this read, instead of the cache's. 0: the latest that any process was told. */
  readonly maxStalenessMs?: number;
  /** Default: none. */
  readonly session?: CacheSession | undefined;
}

export interface CacheSettings {
  readonly maxStalenessMs: number;
  readonly ttlMs: number;
  readonly ttlJitter: number;
  readonly absentTtlMs: number;
  readonly leaseMs: number;
  readonly loadTimeoutMs: number;
  readonly invalidationWaitMs: number;
  readonly relayEveryMs: number;
  readonly positionEveryMs: number;
  readonly auditRatio: number;
  readonly auditDelayMs: number;
  readonly nearEntryMaxCount: number;
  readonly nearBytesMax: number;
  readonly partitionCount: number;
}

const TTL_MAX_MS = 30 * 86_400_000;
const STALE_MAX_MS = 7 * 86_400_000;
const TAG_MAX_COUNT = 16;
const TAG_MAX_LENGTH = 200;

/** @throws InvalidInputError naming the option that is out of range. */
export const checkCacheOptions = (options: CacheOptions): CacheSettings => {
  if (!/^[A-Za-z0-9_.-]{1,64}$/.test(options.name)) {
    throw new InvalidInputError("name", options.name, "1 to 64 characters of [A-Za-z0-9_.-]");
  }
  const pick = (
    field: string,
    value: number | undefined,
    fallback: number,
    min: number,
    max: number,
  ): number => checkRange(field, value ?? fallback, min, max);
  return {
    maxStalenessMs: pick("maxStalenessMs", options.maxStalenessMs, 1_000, 0, 60_000),
    ttlMs: pick("ttlMs", options.ttlMs, 300_000, 1, TTL_MAX_MS),
    ttlJitter: pick("ttlJitter", options.ttlJitter, 0.1, 0, 1),
    absentTtlMs: pick("absentTtlMs", options.absentTtlMs, 30_000, 1, TTL_MAX_MS),
    leaseMs: pick("leaseMs", options.leaseMs, 10_000, 10, 600_000),
    loadTimeoutMs: pick("loadTimeoutMs", options.loadTimeoutMs, 30_000, 1, 3_600_000),
    invalidationWaitMs: pick("invalidationWaitMs", options.invalidationWaitMs, 2_000, 0, 600_000),
    relayEveryMs: pick("relayEveryMs", options.relayEveryMs, 500, 10, 600_000),
    positionEveryMs: pick("positionEveryMs", options.positionEveryMs, 1_000, 10, 600_000),
    auditRatio: pick("audit.ratio", options.audit?.ratio, 0, 0, 1),
    auditDelayMs: pick("audit.delayMs", options.audit?.delayMs, 1_000, 0, 600_000),
    nearEntryMaxCount: pick("near.entryMaxCount", options.near?.entryMaxCount, 10_000, 0, 100_000_000),
    nearBytesMax: pick("near.bytesMax", options.near?.bytesMax, 64 * 2 ** 20, 0, 2 ** 40),
    partitionCount: pick("partitionCount", options.partitionCount, 1, 1, 64),
  };
};

export const checkRange = (field: string, value: number, min: number, max: number): number => {
  if (!(value >= min && value <= max)) throw new InvalidInputError(field, value, `from ${min} to ${max}`);
  return value;
};

/** Entries that are kept longer would outlive what is remembered of their tags. */
export const checkLifetimes = (
  options: Pick<GetOptions<unknown>, "ttlMs" | "staleMs" | "staleIfErrorMs">,
): void => {
  if (options.ttlMs !== undefined) checkRange("ttlMs", options.ttlMs, 1, TTL_MAX_MS);
  if (options.staleMs !== undefined) checkRange("staleMs", options.staleMs, 0, STALE_MAX_MS);
  if (options.staleIfErrorMs !== undefined) {
    checkRange("staleIfErrorMs", options.staleIfErrorMs, 0, STALE_MAX_MS);
  }
};

export const checkTags = (tags: readonly string[]): readonly string[] => {
  if (tags.length > TAG_MAX_COUNT) {
    throw new InvalidInputError("tags", tags.length, `at most ${TAG_MAX_COUNT}`);
  }
  for (const tag of tags) {
    if (tag.length === 0 || tag.length > TAG_MAX_LENGTH || tag.includes("\0")) {
      throw new InvalidInputError("tags", tag, `1 to ${TAG_MAX_LENGTH} characters without NUL each`);
    }
  }
  return tags;
};
