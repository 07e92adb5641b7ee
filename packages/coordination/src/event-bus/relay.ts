import {
  type Abortable,
  type Clock,
  hasCode,
  type Logger,
  type Random,
  silentLogger,
  systemClock,
  systemRandom,
  toWireError,
  withTimeout,
} from "@holdfast/kernel";
import { checkInteger, checkNumber } from "../input-checks.ts";
import type { Json } from "../json.ts";
import { electLeader, type Term } from "../lease/elect-leader.ts";
import type { LogEntry } from "../log/log.ts";
import { checkReadLimit } from "../log/log-checks.ts";
import type { CoordinationStore } from "../store.ts";
import type { OutboxEvent } from "./outbox.ts";

export interface RelayContext {
  /** Larger than that of every relay before: a receiver that keeps the largest it has seen can refuse a deposed one. */
  readonly token: bigint;
  /** Aborts when this relay is deposed or stops, and with TimeoutError when the time of this try is over. */
  readonly signal: AbortSignal;
  /** How often this relay has tried this event, this time included. */
  readonly attempt: number;
}

export interface RelayOptions extends Abortable {
  /**
   * Hands one event on, and resolves when the receiver has it for good. Events of one partition come one after the
   * other, in order; one that fails is tried again, and holds back those behind it meanwhile. It may be slow up to
   * `timeoutMs`. One that goes on although its signal has aborted is not waited for, and what comes of it does not
   * count: it may then run beside the next try, or beside a successor.
   */
  readonly deliver: (event: OutboxEvent, context: RelayContext) => Promise<unknown>;
  /**
   * Longest time of one try, milliseconds, 1 to 2_147_483_647. Then its signal aborts and it counts as failed, with
   * TimeoutError as the reason: it is tried again, or given up after `attemptMaxCount` tries. Default 30_000.
   */
  readonly timeoutMs?: number;
  /** Who relays, for people. */
  readonly owner: string;
  /** A relay that died is replaced within this time, milliseconds. Default 10_000. */
  readonly ttlMs?: number;
  /** After so many tries an event is given up and moved to the dead ones. Default 20; Infinity never gives up. */
  readonly attemptMaxCount?: number;
  /** First pause after a failure, milliseconds; doubled each time, jittered. Default 100. */
  readonly backoffBaseMs?: number;
  /** Longest pause. Default 30_000. */
  readonly backoffCapMs?: number;
  /** Events that are forgotten in one transaction, and so at most repeated after a crash, 1 to 10_000. Default 100. */
  readonly batchMaxCount?: number;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly logger?: Logger;
}

interface Partition<Tx> {
  readonly store: CoordinationStore<Tx>;
  /** Also the name of the lease. */
  readonly stream: string;
  readonly deadStream: string;
}

interface GivenUp {
  readonly entry: Json;
  readonly error: string;
}

/** What is kept of an error's text: an answer that a receiver quotes may be of any length. */
const ERROR_MAX_LENGTH = 2048;

/**
 * Relays one partition whenever it is granted the lease of it, until the signal aborts.
 * @throws InvalidInputError at once for numbers that are none or out of range: without a pause it would try for ever.
 */
export const relayPartition = async <Tx>(partition: Partition<Tx>, options: RelayOptions): Promise<never> => {
  const { clock = systemClock, random = systemRandom, logger = silentLogger } = options;
  const { owner, signal, ttlMs = 10_000 } = options;
  checkReadLimit(options.batchMaxCount);
  const { attemptMaxCount = 20, backoffBaseMs = 100, backoffCapMs = 30_000 } = options;
  if (attemptMaxCount !== Infinity) checkInteger("attemptMaxCount", attemptMaxCount, 1, 2 ** 31 - 1);
  checkNumber("backoffBaseMs", backoffBaseMs, 0.01, 2 ** 31 - 1);
  checkNumber("backoffCapMs", backoffCapMs, 0.01, 2 ** 31 - 1);
  if (options.timeoutMs !== undefined) checkNumber("timeoutMs", options.timeoutMs, 1, 2 ** 31 - 1);
  return electLeader({
    leases: partition.store.leases,
    name: partition.stream,
    owner,
    ttlMs,
    signal,
    clock,
    random,
    logger,
    lead: (term) => relayInOffice(partition, term, { ...options, clock, random, logger }),
  });
};

type Defined = RelayOptions & Required<Pick<RelayOptions, "clock" | "random" | "logger">>;

const relayInOffice = async <Tx>(
  { store, stream, deadStream }: Partition<Tx>,
  { token, signal }: Term,
  options: Defined,
): Promise<void> => {
  const limit = options.batchMaxCount ?? 100;
  for await (const item of store.log.tail(stream, { signal, limit })) {
    if (item.kind === "reset") {
      options.logger.error(
        { stream, reason: item.reason },
        "events were taken from the outbox by other means",
      );
      continue;
    }
    const givenUp: GivenUp[] = [];
    let done = 0n;
    /** Only the newest relay may forget: a competing grant waits until this has committed. */
    const forget = async (): Promise<void> => {
      if (done === 0n) return;
      await store.transaction(
        async (tx) => {
          await store.leases.assertFence({ name: stream, token }, tx);
          for (const one of givenUp) await bury(store, deadStream, one, tx);
          await store.log.trim(stream, { upTo: done, tx });
        },
        { signal },
      );
      givenUp.length = 0;
      done = 0n;
    };
    for (const entry of item.entries) {
      const failure = await deliverEntry(entry, { token, signal }, options, forget);
      if (failure !== undefined) givenUp.push(failure);
      done = entry.position.offset;
    }
    await forget();
  }
};

/** Where the entry takes all the room that the store has for one, it lies among the dead as it is, without the error. */
const bury = async <Tx>(
  { log }: CoordinationStore<Tx>,
  stream: string,
  { entry, error }: GivenUp,
  tx: Tx,
): Promise<void> => {
  try {
    await log.append([{ stream, payload: { entry, error } }], { tx });
  } catch (refusal) {
    // Found before anything was sent, so the transaction goes on.
    if (!hasCode(refusal, "COORDINATION_PAYLOAD_TOO_LARGE")) throw refusal;
    await log.append([{ stream, payload: entry }], { tx });
  }
};

/** Tries until it is delivered or given up. Before the first pause, what was delivered before is forgotten. */
const deliverEntry = async (
  entry: LogEntry,
  term: Term,
  options: Defined,
  forgetFormer: () => Promise<void>,
): Promise<GivenUp | undefined> => {
  const { clock, random, logger, attemptMaxCount = 20 } = options;
  const { backoffBaseMs = 100, backoffCapMs = 30_000, timeoutMs = 30_000 } = options;
  const event = toEvent(entry);
  if (event === undefined) {
    logger.error(
      { stream: entry.stream, offset: entry.position.offset },
      "an entry of the outbox is no event",
    );
    return { entry: entry.payload, error: "this entry is no event" };
  }
  for (let attempt = 1; ; attempt += 1) {
    term.signal.throwIfAborted();
    try {
      const limit = { operation: `the delivery of event ${event.id}`, timeoutMs, signal: term.signal };
      await withTimeout(clock, limit, async (signal) =>
        options.deliver(event, { token: term.token, signal, attempt }),
      );
      return undefined;
    } catch (err) {
      term.signal.throwIfAborted();
      logger.warn({ err, id: event.id, type: event.type, attempt }, "an event could not be delivered");
      if (attempt >= attemptMaxCount) {
        const { message } = toWireError(err);
        return { entry: entry.payload, error: message.slice(0, ERROR_MAX_LENGTH) };
      }
      await forgetFormer();
      const ceilingMs = Math.min(backoffCapMs, backoffBaseMs * 2 ** (attempt - 1));
      await clock.sleep(ceilingMs * (0.5 + random.next() / 2), { signal: term.signal });
    }
  }
};

const toEvent = ({ payload, appendedAt }: LogEntry): OutboxEvent | undefined => {
  if (typeof payload !== "object" || payload === null || Array.isArray(payload)) return undefined;
  const { id, type, data } = payload as { readonly [key: string]: Json | undefined };
  if (typeof id !== "string" || typeof type !== "string" || data === undefined) return undefined;
  return { id, type, data, appendedAt };
};
