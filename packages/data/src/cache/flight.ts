import { type Clock, childController, deferred, type Random, withTimeout } from "@holdfast/kernel";
import type { CacheCounters } from "./cache-counters.ts";
import type { CacheSettings, GetOptions, LoadContext } from "./cache-options.ts";
import { type Encoded, encodeValue, isAbsent, readPayload } from "./codec.ts";
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

/** What the first reader found before it took off. */
export type FirstLook =
  | { readonly kind: "missing" }
  | { readonly kind: "expired"; readonly entry: StoredEntry }
  /** The store cannot be reached. */
  | { readonly kind: "down" };

/** Loads what is not there, or waits for somebody else who does. */
export const fly = async (
  context: FlightContext,
  request: FlightRequest,
  first: FirstLook,
): Promise<Outcome> => {
  if (first.kind === "down") return bypass(context, request);
  const { clock, settings, counters } = context;
  const giveUpAt = clock.monotonicNow() + settings.leaseMs + settings.loadTimeoutMs;
  let known = first.kind === "expired" ? first.entry : undefined;
  for (;;) {
    const outcome = await claimAndLoad(context, request, known);
    if ("encoded" in outcome) return outcome;
    counters.waitCount += 1;
    if (clock.monotonicNow() >= giveUpAt) return bypass(context, request);
    await outcome.filled;
    const look = await lookAt(context, request);
    if ("encoded" in look) return look;
    if (look.kind === "down") return bypass(context, request);
    known = look.kind === "expired" ? look.entry : undefined;
  }
};

/** What the store has for a reader now: an outcome, or a reason to load. */
export const lookAt = async (
  context: FlightContext,
  request: FlightRequest,
): Promise<Outcome | FirstLook> => {
  const { partition, lookup, options } = request;
  const confirmedAt = context.tick();
  const { mark } = partition.near;
  let entry: StoredEntry | undefined;
  let encoded: Encoded | undefined;
  try {
    entry = await partition.read(lookup);
    if (entry !== undefined) encoded = decoded(partition, lookup.key, entry.payload);
  } catch {
    return { kind: "down" };
  }
  if (entry === undefined || encoded === undefined) return { kind: "missing" };
  if (entry.freshForMs > 0) {
    const freshUntil = context.clock.monotonicNow() + entry.freshForMs;
    putNear(partition, { lookup, encoded, mark, confirmedAt, freshUntil });
    return { encoded, kind: "shared", confirmedAt, isConfirmed: true };
  }
  if (-entry.freshForMs > (options.staleMs ?? 0)) return { kind: "expired", entry };
  refresh(context, request, entry);
  return { encoded, kind: "stale", confirmedAt, isConfirmed: true };
};

/** Loads without the store; nothing is kept. */
export const bypass = async (context: FlightContext, request: FlightRequest): Promise<Outcome> => {
  const confirmedAt = context.tick();
  const { value } = await load(context, request, undefined);
  return { encoded: encodeValue(value), kind: "bypassed", confirmedAt, isConfirmed: false };
};

const claimAndLoad = async (
  context: FlightContext,
  request: FlightRequest,
  known: StoredEntry | undefined,
): Promise<Outcome | { readonly filled: Promise<void> }> => {
  const { partition, lookup } = request;
  const { clock, settings, tick } = context;
  const { mark } = partition.near;
  const confirmedAt = tick();
  // Before the question, so that an answer which overtakes it is not missed.
  const filled = fillOf(partition, lookup.key);
  let claim: Claim;
  try {
    const knownStamp = known === undefined ? {} : { knownStamp: known.stamp };
    claim = await partition.ask(() =>
      partition.store.claim(lookup, { leaseMs: settings.leaseMs, ...knownStamp }),
    );
  } catch {
    filled.stop();
    return bypass(context, request);
  }
  if (claim.kind === "held") return { filled: waitForFill(context, filled) };
  filled.stop();
  if (claim.kind === "granted") {
    return loadAndFill(context, request, { ticket: claim.ticket, mark, isExpired: known !== undefined });
  }
  const encoded = readPayload(claim.entry.payload);
  const freshUntil = clock.monotonicNow() + claim.entry.freshForMs;
  putNear(partition, { lookup, encoded, mark, confirmedAt, freshUntil });
  return { encoded, kind: "shared", confirmedAt, isConfirmed: true };
};

/** What the text says, by the copy where that has the same one: most values are read more often than they change. */
const decoded = ({ near }: Partition, key: string, payload: string): Encoded => {
  const copy = near.get(key);
  return copy?.encoded.payload === payload ? copy.encoded : readPayload(payload);
};

const putNear = (
  { near }: Partition,
  copy: {
    readonly lookup: Lookup;
    readonly encoded: Encoded;
    readonly mark: number;
    readonly confirmedAt: number;
    readonly freshUntil: number;
  },
): void => {
  const { encoded, lookup, mark, confirmedAt, freshUntil } = copy;
  if (near.isOff || near.isTouched(mark, lookup.key, lookup.tags)) return;
  const known = near.get(lookup.key);
  if (known?.encoded === encoded) {
    known.freshUntil = freshUntil;
    known.confirmedAt = Math.max(known.confirmedAt, confirmedAt);
    known.isVisited = true;
    return;
  }
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
  granted: { readonly ticket: Ticket; readonly mark: number; readonly isExpired: boolean },
): Promise<Outcome> => {
  const { partition, lookup, options } = request;
  const { counters, tick } = context;
  const { ticket, mark, isExpired } = granted;
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
  putNear(partition, { lookup, encoded, mark, confirmedAt: filledAt, freshUntil: filledAt + freshMs });
  return { encoded, kind: "loaded", confirmedAt: filledAt, isConfirmed: true };
};

/** The expired entry, for a reader whose load failed, unless an invalidation reached it meanwhile. */
const stillThere = async (
  { partition, lookup, options }: FlightRequest,
  confirmedAt: number,
): Promise<Outcome | undefined> => {
  const limitMs = options.staleIfErrorMs ?? 0;
  if (limitMs === 0) return undefined;
  const entry = await partition.read(lookup).catch(() => undefined);
  if (entry === undefined || -entry.freshForMs > limitMs) return undefined;
  return { encoded: readPayload(entry.payload), kind: "stale", confirmedAt, isConfirmed: true };
};

/** One load in the background for an entry that is served meanwhile. */
const refresh = (context: FlightContext, request: FlightRequest, entry: StoredEntry): void => {
  const { partition, lookup } = request;
  if (partition.refreshing.has(lookup.key)) return;
  partition.refreshing.add(lookup.key);
  context.spawn("refresh of a cache entry", async () => {
    const { mark } = partition.near;
    try {
      const claim = await partition.ask(() =>
        partition.store.claim(lookup, { leaseMs: context.settings.leaseMs, knownStamp: entry.stamp }),
      );
      if (claim.kind !== "granted") return;
      await loadAndFill(context, request, { ticket: claim.ticket, mark, isExpired: false });
    } catch {
      // Counted where it failed; the next reader tries again.
    } finally {
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
