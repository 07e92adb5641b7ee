import {
  type Clock,
  ClosedError,
  InvalidInputError,
  type Logger,
  silentLogger,
  systemClock,
  untilAborted,
} from "@holdfast/kernel";
import { EventBusFullError } from "../errors.ts";
import { checkInteger, checkNumber } from "../input-checks.ts";
import { Admission } from "./admission.ts";
import {
  type BusEvent,
  type DataOf,
  type Delivery,
  type EventMap,
  type HandlerFailure,
  LANES,
} from "./bus-event.ts";
import type {
  DeliverOptions,
  EventBusOptions,
  EventBusStats,
  PublishOptions,
  StopReport,
} from "./bus-options.ts";
import { Confirmations } from "./confirmations.ts";
import { Envelope } from "./envelope.ts";
import { Lanes, laneOf } from "./lanes.ts";
import { type BusDrain, drainBus } from "./stop-bus.ts";
import type { EventHandler, SubscribeOptions, Subscription } from "./subscription.ts";
import { Subscriptions } from "./subscriptions.ts";

/** After so many events, or so many milliseconds, timers and I/O have their turn. */
const TURN_MAX_COUNT = 50_000;
const TURN_MAX_MS = 10;
const TIME_CHECK_EVERY = 64;

const TAKEN_IN: Promise<void> = Promise.resolve();

/**
 * Publish and subscribe between the parts of one process, with explicit behaviour under overload.
 *
 * Guaranteed: each event reaches every subscription that its type has when it is handed out, exactly once, in the
 * order of publishing within a priority, unless that subscription's inbox is full. What a handler does (throw,
 * hang, be slow) is felt by nobody else. Nothing here survives the process: for that there is {@link Outbox}.
 *
 * The bus is stopped until `start`; what is published before waits in it.
 */
export class EventBus<Events extends EventMap = Record<string, unknown>> {
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #capacity: number;
  readonly #headroom: number;
  readonly #overflow: "reject" | "drop-oldest" | "wait";
  readonly #waitMs: number;
  readonly #onError: ((failure: HandlerFailure) => void) | undefined;
  readonly #lanes = new Lanes();
  readonly #admission: Admission;
  readonly #confirmations: Confirmations;
  readonly #subscriptions: Subscriptions;
  #state: "stopped" | "running" | "stopping" = "stopped";
  #stopping: Promise<StopReport> | undefined;
  #startAgain = false;
  #isScheduled = false;
  /** Events handed out since timers and I/O surely had their turn. */
  #turnCount = 0;
  #turnAt = 0;
  #drain: BusDrain | undefined;
  #sequence = 0;
  #processed = 0;
  #unrouted = 0;
  #inFlight = 0;
  #evicted = 0;
  #rejected = 0;

  constructor(options: EventBusOptions = {}) {
    this.#clock = options.clock ?? systemClock;
    this.#logger = options.logger ?? silentLogger;
    this.#capacity = options.capacity ?? 1000;
    checkInteger("capacity", this.#capacity, 1, 10_000_000);
    this.#headroom = options.criticalHeadroom ?? Math.ceil(this.#capacity / 4);
    checkInteger("criticalHeadroom", this.#headroom, 0, 10_000_000);
    this.#overflow = options.overflow ?? "reject";
    this.#waitMs = checkMs("waitMs", options.waitMs ?? 5000);
    this.#onError = options.onError;
    this.#confirmations = new Confirmations(this.#clock);
    const waiterMaxCount = options.waiterMaxCount ?? 1000;
    checkInteger("waiterMaxCount", waiterMaxCount, 0, 10_000_000);
    this.#admission = new Admission(this.#clock, waiterMaxCount);
    this.#subscriptions = new Subscriptions({
      clock: this.#clock,
      onFailure: (failure, own) => this.#report(failure, own),
      onSettled: (envelope) => this.#settle(envelope),
    });
  }

  get isRunning(): boolean {
    return this.#state === "running";
  }

  /** Begins to hand out. While it stops, it starts again afterwards. Calling it twice changes nothing. */
  start(): void {
    if (this.#state === "stopping") this.#startAgain = true;
    if (this.#state !== "stopped") return;
    this.#state = "running";
    this.#schedule();
  }

  /**
   * Hands out what was published before, critical events first, and waits for its handlers; after `drainMs`
   * (default 5000) aborts the handlers that still run and gives back what no handler has seen. What is published
   * meanwhile or later waits for the next `start`. A second call joins the first.
   */
  stop(options: { readonly drainMs?: number } = {}): Promise<StopReport> {
    if (this.#state === "stopped") return Promise.resolve({ undelivered: [], cutShort: [] });
    this.#stopping ??= this.#stop(checkMs("drainMs", options.drainMs ?? 5000));
    return this.#stopping;
  }

  /** Calls `handler` for each event of exactly this type from now on. The same handler twice is called twice. */
  subscribe<Type extends keyof Events & string>(
    type: Type,
    handler: EventHandler<BusEvent<Type, Events[Type]>>,
    options: SubscribeOptions = {},
  ): Subscription {
    return this.#subscriptions.add(type, handler as EventHandler, options);
  }

  /**
   * Ends one subscription, given itself or by its handler (the oldest of that handler). What waits in its inbox
   * is dropped, what runs goes on. False, and nothing happens, when there is no such subscription.
   */
  unsubscribe<Type extends keyof Events & string>(
    type: Type,
    which: Subscription | EventHandler<BusEvent<Type, Events[Type]>>,
  ): boolean {
    const found = this.#subscriptions.takeOut(type, which);
    if (found === undefined) return false;
    found.dropWaiting(new ClosedError(`subscription ${found.name}`));
    return true;
  }

  subscriberCount(type: string): number {
    return this.#subscriptions.of(type)?.length ?? 0;
  }

  /**
   * Hands the event over to the bus and does not wait for its handlers: resolves at once when there is room.
   * @throws InvalidInputError for a priority that does not exist.
   * @throws EventBusFullError when there is none and the bus does not wait or drop for it; retryable.
   * @throws signal.reason when aborted while it waits for room; the event was not taken in.
   */
  publish<Type extends keyof Events & string>(
    type: Type,
    data: DataOf<Events, Type>,
    options?: PublishOptions,
  ): Promise<void> {
    const priority = options?.priority ?? "normal";
    const lane = laneOf(priority);
    if (lane === undefined) return Promise.reject(unknownPriority(priority));
    const envelope = new Envelope(type, data, priority, lane, false, this.#wallNow(), undefined);
    if (this.#hasRoomFor(envelope) && this.#admission.count === 0) {
      this.#takeIn(envelope);
      return TAKEN_IN;
    }
    return this.#publishWhenFull(envelope, options);
  }

  /**
   * Publishes a critical event and waits until every handler has settled. It may use the headroom.
   * @throws EventBusFullError when that is full, too, for `waitMs`; retryable, the event was not taken in.
   * @throws TimeoutError when not all handlers settled in `timeoutMs`; the event stays with the bus.
   * @throws ClosedError when the bus stopped before any handler was started.
   * @throws signal.reason when aborted; the event may have been taken in.
   */
  deliver<Type extends keyof Events & string>(
    type: Type,
    data: DataOf<Events, Type>,
    options?: DeliverOptions,
  ): Promise<Delivery> {
    const timeoutMs = options?.timeoutMs ?? 60_000;
    const signal = options?.signal;
    if (signal?.aborted) return Promise.reject(signal.reason);
    const priority = options?.priority ?? "normal";
    const lane = laneOf(priority);
    if (lane === undefined) return Promise.reject(unknownPriority(priority));
    const confirmation = this.#confirmations.begin(type, checkMs("timeoutMs", timeoutMs));
    const envelope = new Envelope(type, data, priority, lane, true, this.#wallNow(), confirmation);
    if (this.#hasRoomFor(envelope)) {
      this.#takeIn(envelope);
    } else {
      const waitMs = Math.min(options?.waitMs ?? this.#waitMs, timeoutMs);
      this.#waitForRoom(envelope, waitMs, signal).catch((error: unknown) => confirmation.reject(error));
    }
    return signal === undefined
      ? confirmation.promise
      : untilAborted(confirmation.promise, signal).catch((error: unknown) => {
          confirmation.reject(error);
          throw error;
        });
  }

  stats(): EventBusStats {
    return {
      published: this.#sequence,
      processed: this.#processed,
      unrouted: this.#unrouted,
      queued: this.#lanes.size + (this.#drain?.queuedCount ?? 0),
      inFlight: this.#inFlight,
      evicted: this.#evicted,
      rejected: this.#rejected,
      dropped: this.#evicted + this.#rejected,
      waiting: this.#admission.count,
      subscriptions: this.#subscriptions.all().map((each) => each.stats()),
    };
  }

  /** Events of one turn share its time: the clock is asked once for all of them. */
  #wallNow(): number {
    if (!this.#isScheduled) this.#turnAt = this.#clock.wallNow();
    return this.#turnAt;
  }

  #hasRoomFor(envelope: Envelope): boolean {
    const room = envelope.isCritical ? this.#capacity + this.#headroom : this.#capacity;
    return this.#lanes.size < room;
  }

  #takeIn(envelope: Envelope): void {
    this.#sequence += 1;
    envelope.sequence = this.#sequence;
    this.#lanes.push(envelope);
    this.#schedule();
  }

  async #publishWhenFull(envelope: Envelope, options: PublishOptions = {}): Promise<void> {
    if (this.#overflow === "wait") {
      await this.#waitForRoom(envelope, options.waitMs ?? this.#waitMs, options.signal);
      return;
    }
    const evicted = this.#overflow === "drop-oldest" ? this.#lanes.evict() : undefined;
    if (evicted === undefined) {
      this.#rejected += 1;
      throw new EventBusFullError(envelope.type, this.#capacity);
    }
    this.#evicted += 1;
    this.#takeIn(envelope);
  }

  async #waitForRoom(envelope: Envelope, waitMs: number, signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    checkMs("waitMs", waitMs);
    if (waitMs > 0 && !this.#admission.isFull && (await this.#admission.wait(envelope, waitMs, signal))) {
      return;
    }
    this.#rejected += 1;
    throw new EventBusFullError(envelope.type, this.#capacity);
  }

  #schedule(): void {
    if (this.#isScheduled || this.#state !== "running") return;
    this.#isScheduled = true;
    // Handlers that publish at once could keep promise callbacks going for ever, and timers and I/O would never run.
    if (this.#turnCount < TURN_MAX_COUNT) queueMicrotask(() => this.#handOut());
    else this.#yield();
  }

  #yield(): void {
    this.#clock.schedule(1, () => {
      this.#turnCount = 0;
      this.#handOut();
    });
  }

  /**
   * Hands out until nothing waits or the turn is over. Only this and `stop` hand out, so order is kept; it counts as
   * scheduled while it runs, so what handlers publish joins this turn.
   */
  #handOut(): void {
    const turnEndsAt = this.#clock.monotonicNow() + TURN_MAX_MS;
    while (this.#state === "running") {
      const envelope = this.#lanes.shift();
      if (envelope === undefined) break;
      if (this.#admission.count > 0) this.#admit();
      this.#dispatch(envelope);
      this.#turnCount += 1;
      const isOver =
        this.#turnCount >= TURN_MAX_COUNT ||
        (this.#turnCount % TIME_CHECK_EVERY === 0 && this.#clock.monotonicNow() >= turnEndsAt);
      if (isOver && this.#lanes.size > 0) {
        this.#yield();
        return;
      }
    }
    this.#isScheduled = false;
  }

  #admit(): void {
    for (;;) {
      const envelope = this.#admission.admitNext((each) => this.#hasRoomFor(each));
      if (envelope === undefined) return;
      this.#takeIn(envelope);
    }
  }

  #dispatch(envelope: Envelope): void {
    const subscriptions = this.#subscriptions.of(envelope.type);
    if (subscriptions === undefined) {
      this.#unrouted += 1;
      envelope.confirmation?.resolve({ event: envelope, handlerCount: 0, failures: [] });
      return;
    }
    this.#inFlight += 1;
    envelope.openCount = subscriptions.length;
    envelope.handlerCount = subscriptions.length;
    for (const subscription of subscriptions) subscription.offer(envelope);
  }

  #settle(envelope: Envelope): void {
    envelope.openCount -= 1;
    if (envelope.openCount > 0) return;
    this.#inFlight -= 1;
    this.#processed += 1;
    envelope.confirmation?.resolve({
      event: envelope,
      handlerCount: envelope.handlerCount,
      failures: envelope.failures ?? [],
    });
    this.#drain?.onSettled(envelope);
  }

  #report(failure: HandlerFailure, own: ((failure: HandlerFailure) => void) | undefined): void {
    const { event, subscription, error } = failure;
    this.#logger.warn(
      { err: error, type: event.type, sequence: event.sequence, subscription },
      "an event handler failed",
    );
    for (const hook of [own, this.#onError]) {
      try {
        hook?.(failure);
      } catch (err) {
        this.#logger.error({ err, subscription }, "the error hook of an event handler threw");
      }
    }
  }

  async #stop(drainMs: number): Promise<StopReport> {
    this.#state = "stopping";
    const queued = this.#lanes.takeAll();
    this.#admit();
    const report = await drainBus({
      queued,
      drainMs,
      clock: this.#clock,
      subscriptions: () => this.#subscriptions.allRunning(),
      hasRoom: ({ type }) => this.#subscriptions.of(type)?.every((each) => each.hasRoom) ?? true,
      dispatch: (envelope) => this.#dispatch(envelope),
      inFlightCount: () => this.#inFlight,
      expose: (drain) => {
        this.#drain = drain;
      },
    });
    this.#evicted += report.undelivered.length;
    for (const { confirmation } of report.undelivered) confirmation?.reject(new ClosedError("the event bus"));
    this.#state = "stopped";
    this.#stopping = undefined;
    if (this.#startAgain) this.start();
    this.#startAgain = false;
    return report;
  }
}

const unknownPriority = (priority: unknown): InvalidInputError =>
  new InvalidInputError("priority", priority, `one of ${LANES.join(", ")}`);

const checkMs = (field: string, ms: number): number => {
  checkNumber(field, ms, 0, 2_147_483_647);
  return ms;
};
