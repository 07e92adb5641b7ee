import { type Clock, childController, deferred, type Random, withTimeout } from "@holdfast/kernel";
import type { CacheCounters } from "./cache-counters.ts";
import type { CacheSettings, GetOptions, LoadContext } from "./cache-options.ts";
import { type Encoded, encodeValue, isAbsent, readPayload } from "./codec.ts";
import type { Pending } from "./near-cache.ts";
import type { Partition } from "./partition.ts";
import type { CachePosition, Claim, Lookup, StoredEntry, StoreOutcome, Ticket } from "./shared-store.ts";

/** What came of a read of the store, or of a load. */
export interface Outcome {
  readonly encoded: Encoded;
  readonly kind: "shared" | "stale" | "loaded" | "bypassed";
  /** The value was current at this instant of the process, as far as any invalidation told the store. */
  readonly confirmedAt: number;
  /** The store itself said so; else it is only that the load began then. */
  readonly isConfirmed: boolean;
}

export interface FlightContext {
  readonly settings: CacheSettings;
  readonly clock: Clock;
  readonly random: Random;
  readonly counters: CacheCounters;
  /** The monotonic clock, never giving the same instant twice. */
  readonly tick: () => number;
  /** Aborts when the cache closes. */
  readonly signal: AbortSignal;
  /** Runs a refresh that nobody waits for. */
  readonly spawn: (name: string, body: () => Promise<void>) => void;
}

export interface FlightRequest {
  readonly partition: Partition;
  readonly lookup: Lookup;
  readonly options: GetOptions<unknown>;
}

/** How often who waits for another's load looks by himself, in case that nobody tells him. */
const LOOK_EVERY_MS = 50;

/** Reads the store, and loads when there is nothing. `onPending` gets what an invalidation voids meanwhile. */
export const fly = async (
  context: FlightContext,
  request: FlightRequest,
  onPending: (pending: Pending) => void,
): Promise<Outcome> => {
  const { partition, lookup } = request;
  const { clock, settings } = context;
  const giveUpAt = clock.monotonicNow() + settings.leaseMs + settings.loadTimeoutMs;
  for (;;) {
    const pending: Pending = { key: lookup.key, tags: lookup.tags, isVoid: false };
    onPending(pending);
    partition.near.enter(pending);
    try {
      // Callers of this turn join before the question goes out.
      await undefined;
      const outcome = await lookOnce(context, request, pending);
      if ("encoded" in outcome) return outcome;
      context.counters.waitCount += 1;
      if (clock.monotonicNow() >= giveUpAt) return bypass(context, request);
      await outcome.filled;
    } finally {
      partition.near.leave(pending);
    }
  }
};

/** Loads without the store; nothing is kept. */
export const bypass = async (context: FlightContext, request: FlightRequest): Promise<Outcome> => {
  const confirmedAt = context.tick();
  const { value } = await load(context, request, undefined);
  return { encoded: encodeValue(value), kind: "bypassed", confirmedAt, isConfirmed: false };
};

const lookOnce = async (
  context: FlightContext,
  request: FlightRequest,
  pending: Pending,
): Promise<Outcome | { readonly filled: Promise<void> }> => {
  const { partition, lookup, options } = request;
  const { store } = partition;
  const confirmedAt = context.tick();
  let entry: StoredEntry | undefined;
  let claim: Claim;
  try {
    entry = await partition.ask(() => store.read(lookup));
    if (entry !== undefined && entry.freshForMs > 0)
      return keep(context, request, { entry, pending, confirmedAt });
    if (entry !== undefined && -entry.freshForMs <= (options.staleMs ?? 0)) {
      refresh(context, request, entry);
      return { encoded: readPayload(entry.payload), kind: "stale", confirmedAt, isConfirmed: true };
    }
  } catch {
    return bypass(context, request);
  }
  // Before the question, so that an answer which overtakes it is not missed.
  const filled = fillOf(partition, lookup.key);
  try {
    const known = entry === undefined ? {} : { knownStamp: entry.stamp };
    claim = await partition.ask(() => store.claim(lookup, { leaseMs: context.settings.leaseMs, ...known }));
  } catch {
    filled.stop();
    return bypass(context, request);
  }
  if (claim.kind === "held") return { filled: waitForFill(context, filled) };
  filled.stop();
  if (claim.kind === "present") return keep(context, request, { entry: claim.entry, pending, confirmedAt });
  return loadAndFill(context, request, { ticket: claim.ticket, pending, isExpired: entry !== undefined });
};

const keep = (
  { clock }: FlightContext,
  { partition, lookup }: FlightRequest,
  read: { readonly entry: StoredEntry; readonly pending: Pending; readonly confirmedAt: number },
): Outcome => {
  const { entry, pending, confirmedAt } = read;
  const encoded = readPayload(entry.payload);
  putNear(partition, {
    lookup,
    encoded,
    pending,
    confirmedAt,
    freshUntil: clock.monotonicNow() + entry.freshForMs,
  });
  return { encoded, kind: "shared", confirmedAt, isConfirmed: true };
};

const putNear = (
  { near }: Partition,
  copy: {
    readonly lookup: Lookup;
    readonly encoded: Encoded;
    readonly pending: Pending;
    readonly confirmedAt: number;
    readonly freshUntil: number;
  },
): void => {
  if (copy.pending.isVoid) return;
  const { encoded, lookup, confirmedAt, freshUntil } = copy;
  near.put({
    key: lookup.key,
    tags: lookup.tags,
    encoded,
    promise: encoded.shared === undefined ? undefined : Promise.resolve(encoded.shared.value),
    bytes: 2 * (encoded.payload.length + lookup.key.length),
    freshUntil,
    confirmedAt,
    isVisited: false,
  });
};

const loadAndFill = async (
  context: FlightContext,
  request: FlightRequest,
  granted: { readonly ticket: Ticket; readonly pending: Pending; readonly isExpired: boolean },
): Promise<Outcome> => {
  const { partition, lookup, options } = request;
  const { counters, tick } = context;
  const { ticket, pending, isExpired } = granted;
  const loadBeganAt = tick();
  let loaded: { readonly value: unknown; readonly observed: CachePosition | undefined };
  let encoded: Encoded;
  try {
    loaded = await load(context, request, ticket.floor);
    encoded = encodeValue(loaded.value);
  } catch (error) {
    await partition.ask(() => partition.store.release(lookup, ticket)).catch(() => undefined);
    const stale = isExpired ? await stillThere(request, tick()) : undefined;
    if (stale !== undefined) return stale;
    throw error;
  }
  const { freshMs, keepMs } = lifetime(context, options, encoded);
  const filledAt = tick();
  let outcome: StoreOutcome | "failed";
  try {
    outcome = await partition.ask(() =>
      partition.store.fill(lookup, ticket, {
        payload: encoded.payload,
        freshMs,
        keepMs,
        observed: loaded.observed,
      }),
    );
  } catch {
    outcome = "failed";
  }
  countFill(counters, outcome);
  if (outcome !== "stored") {
    return { encoded, kind: "loaded", confirmedAt: loadBeganAt, isConfirmed: false };
  }
  putNear(partition, { lookup, encoded, pending, confirmedAt: filledAt, freshUntil: filledAt + freshMs });
  return { encoded, kind: "loaded", confirmedAt: filledAt, isConfirmed: true };
};

/** The expired entry, for a reader whose load failed, unless an invalidation reached it meanwhile. */
const stillThere = async (
  { partition, lookup, options }: FlightRequest,
  confirmedAt: number,
): Promise<Outcome | undefined> => {
  const limitMs = options.staleIfErrorMs ?? 0;
  if (limitMs === 0) return undefined;
  const entry = await partition.ask(() => partition.store.read(lookup)).catch(() => undefined);
  if (entry === undefined || -entry.freshForMs > limitMs) return undefined;
  return { encoded: readPayload(entry.payload), kind: "stale", confirmedAt, isConfirmed: true };
};

/** One load in the background for an entry that is served meanwhile. */
const refresh = (context: FlightContext, request: FlightRequest, entry: StoredEntry): void => {
  const { partition, lookup } = request;
  if (partition.refreshing.has(lookup.key)) return;
  partition.refreshing.add(lookup.key);
  context.spawn("refresh of a cache entry", async () => {
    const pending: Pending = { key: lookup.key, tags: lookup.tags, isVoid: false };
    partition.near.enter(pending);
    try {
      const claim = await partition.ask(() =>
        partition.store.claim(lookup, { leaseMs: context.settings.leaseMs, knownStamp: entry.stamp }),
      );
      if (claim.kind !== "granted") return;
      await loadAndFill(context, request, { ticket: claim.ticket, pending, isExpired: false });
    } catch {
      // Counted where it failed; the next reader tries again.
    } finally {
      partition.near.leave(pending);
      partition.refreshing.delete(lookup.key);
    }
  });
};

const load = async (
  { settings, clock, counters, signal }: FlightContext,
  { options, lookup }: FlightRequest,
  storeFloor: CachePosition | undefined,
): Promise<{ readonly value: unknown; readonly observed: CachePosition | undefined }> => {
  counters.loadCount += 1;
  let observed: CachePosition | undefined;
  const floor = storeFloor === undefined ? undefined : later(storeFloor, options.session);
  try {
    const value = await withTimeout(
      clock,
      { operation: `load of cache key ${lookup.key}`, timeoutMs: settings.loadTimeoutMs, signal },
      async (loadSignal) => {
        const context: LoadContext = {
          signal: loadSignal,
          floor,
          observed: (position) => {
            observed = position;
          },
        };
        return options.load(context);
      },
    );
    return { value, observed };
  } catch (error) {
    counters.loadFailedCount += 1;
    throw error;
  }
};

const later = (a: CachePosition, b: CachePosition | undefined): CachePosition => {
  if (b === undefined || b.epoch < a.epoch) return a;
  return b.epoch > a.epoch || b.position > a.position ? { epoch: b.epoch, position: b.position } : a;
};

/** How long a value is fresh and kept. Jitter spreads the ends of what was filled together. */
export const lifetime = (
  { settings, random }: Pick<FlightContext, "settings" | "random">,
  options: Pick<GetOptions<unknown>, "ttlMs" | "staleMs" | "staleIfErrorMs">,
  encoded: Encoded,
): { readonly freshMs: number; readonly keepMs: number } => {
  const ttlMs = isAbsent(encoded)
    ? Math.min(options.ttlMs ?? settings.ttlMs, settings.absentTtlMs)
    : (options.ttlMs ?? settings.ttlMs);
  const freshMs = Math.max(1, Math.round(ttlMs * (1 - settings.ttlJitter * random.next())));
  return { freshMs, keepMs: freshMs + Math.max(options.staleMs ?? 0, options.staleIfErrorMs ?? 0) };
};

const countFill = (counters: CacheCounters, outcome: StoreOutcome | "failed"): void => {
  if (outcome === "stored") counters.fillStoredCount += 1;
  else if (outcome === "overtaken") counters.fillOvertakenCount += 1;
  else if (outcome === "behind") counters.fillBehindCount += 1;
  else if (outcome === "generation") counters.fillGenerationCount += 1;
};

interface Fill {
  readonly promise: Promise<void>;
  readonly stop: () => void;
}

const fillOf = (partition: Partition, key: string): Fill => {
  const filled = deferred<void>();
  return { promise: filled.promise, stop: partition.onFilled(key, () => filled.resolve()) };
};

const waitForFill = async ({ clock, random, signal }: FlightContext, filled: Fill): Promise<void> => {
  const controller = childController(signal);
  try {
    const looked = clock.sleep(LOOK_EVERY_MS * (0.5 + random.next()), { signal: controller.signal });
    looked.catch(() => undefined);
    await Promise.race([filled.promise, looked]);
  } finally {
    filled.stop();
    controller.abort();
    controller.dispose();
  }
};

/** What the source says, for a comparison. */
export const loadAside = async (context: FlightContext, request: FlightRequest): Promise<unknown> =>
  (await load(context, request, undefined)).value;
