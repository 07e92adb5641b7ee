import { type Clock, TimeoutError, type Timer } from "@holdfast/kernel";
import { InboxFullError } from "../errors.ts";
import type { BusEvent, HandlerFailure } from "./bus-event.ts";
import type { Envelope } from "./envelope.ts";
import { Fifo } from "./fifo.ts";

/** What a handler may ask about the run it is in, while it runs. */
export interface HandlerContext {
  /** Aborts with TimeoutError when its time is over, or with ClosedError when the bus stops without waiting longer. */
  readonly signal: AbortSignal;
}

export type EventHandler<Event extends BusEvent = BusEvent> = (
  event: Event,
  context: HandlerContext,
) => unknown;

export interface SubscribeOptions {
  /** For people and statistics. Default: the type and a number. */
  readonly name?: string;
  /** How many events it handles at the same time. Default 1: one after the other, in order. */
  readonly concurrencyMaxCount?: number;
  /** How many events may wait for it, 1 to 1_000_000; critical ones find a quarter more. Default 1000. */
  readonly inboxMaxCount?: number;
  /** What it loses when its inbox is full: the event that comes (default), or the oldest that waits. Critical ones wait on. */
  readonly overflow?: "drop-newest" | "drop-oldest";
  /**
   * Longest run of the handler, milliseconds. Then, or up to a sixteenth of that later, its signal aborts, the run
   * counts as timed out and the next event is handled, even if the handler goes on. Default 30_000.
   */
  readonly timeoutMs?: number;
  /** Told of every failure of this subscription. Its own errors are swallowed. */
  readonly onError?: (failure: HandlerFailure) => void;
}

/** received = succeeded + failed + timedOut + dropped + running + waiting. */
export interface SubscriptionStats {
  readonly name: string;
  readonly received: number;
  readonly succeeded: number;
  readonly failed: number;
  readonly timedOut: number;
  /** Never started: no room in the inbox, unsubscribed, or the bus stopped. */
  readonly dropped: number;
  readonly running: number;
  readonly waiting: number;
}

export interface SubscriptionParts {
  readonly type: string;
  readonly name: string;
  readonly handler: EventHandler;
  readonly options: Required<Omit<SubscribeOptions, "name" | "onError">>;
  readonly clock: Clock;
  readonly onFailure: (failure: HandlerFailure) => void;
  /** Called once for each event that was offered, when nothing of it is left to do here. */
  readonly onSettled: (envelope: Envelope) => void;
}

/**
 * A place in which the handler runs, one event after the other. It is used again, with the callbacks that were made
 * for it, so a run costs no memory of its own; one whose time was over is left to its handler and never used again.
 * Those that run form a list in the order of their starts, and so of their ends.
 */
class Slot implements HandlerContext {
  envelope: Envelope | undefined;
  /** The tick of the subscription in which the run began. */
  startedIn = 0;
  previous: Slot | undefined;
  next: Slot | undefined;
  readonly onDone: () => void;
  readonly onFailed: (error: unknown) => void;
  #controller: AbortController | undefined;
  #reason: Error | undefined;

  constructor(finish: (slot: Slot, failure: { readonly error: unknown } | undefined) => void) {
    this.onDone = () => finish(this, undefined);
    this.onFailed = (error) => finish(this, { error });
  }

  /** Made only for handlers that look at it. */
  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.#reason !== undefined) this.#controller.abort(this.#reason);
    return this.#controller.signal;
  }

  /** Ready for the next run. */
  clear(): void {
    this.envelope = undefined;
    this.#controller = undefined;
  }

  abandon(reason: Error): void {
    this.envelope = undefined;
    this.#reason = reason;
    this.#controller?.abort(reason);
  }
}

/** Time is told in so many ticks per timeout, so a run need not ask the clock when it began. */
const TICKS_PER_TIMEOUT = 16;

/**
 * One handler with an inbox of its own, so that it can be slow, stuck or broken without anybody else noticing.
 */
export class Subscription {
  readonly type: string;
  readonly name: string;
  readonly handler: EventHandler;
  readonly #parts: SubscriptionParts;
  readonly #inbox = new Fifo<Envelope>();
  readonly #headroom: number;
  #runningCount = 0;
  #first: Slot | undefined;
  #last: Slot | undefined;
  readonly #free: Slot[] = [];
  #tick = 0;
  #timer: Timer | undefined;
  #received = 0;
  #succeeded = 0;
  #failed = 0;
  #timedOut = 0;
  #dropped = 0;

  constructor(parts: SubscriptionParts) {
    this.#parts = parts;
    this.type = parts.type;
    this.name = parts.name;
    this.handler = parts.handler;
    this.#headroom = Math.ceil(parts.options.inboxMaxCount / 4);
  }

  stats(): SubscriptionStats {
    return {
      name: this.name,
      received: this.#received,
      succeeded: this.#succeeded,
      failed: this.#failed,
      timedOut: this.#timedOut,
      dropped: this.#dropped,
      running: this.#runningCount,
      waiting: this.#inbox.size,
    };
  }

  get isRunning(): boolean {
    return this.#runningCount > 0;
  }

  get hasRoom(): boolean {
    return this.#inbox.size < this.#parts.options.inboxMaxCount;
  }

  /** Takes an event in; never waits and never throws. */
  offer(envelope: Envelope): void {
    this.#received += 1;
    const { concurrencyMaxCount, inboxMaxCount, overflow } = this.#parts.options;
    if (this.#runningCount < concurrencyMaxCount && this.#inbox.size === 0) {
      this.#start(envelope);
      return;
    }
    const roomFor = envelope.isCritical ? inboxMaxCount + this.#headroom : inboxMaxCount;
    if (this.#inbox.size < roomFor) {
      this.#inbox.push(envelope);
      return;
    }
    const oldest =
      overflow === "drop-oldest" ? this.#inbox.takeFirst(({ isCritical }) => !isCritical) : undefined;
    if (oldest !== undefined) this.#inbox.push(envelope);
    this.#drop(oldest ?? envelope, new InboxFullError(this.name, inboxMaxCount));
  }

  /** Drops what waits and aborts what runs, which counts as timed out. */
  cut(reason: Error): void {
    while (this.#first !== undefined) {
      if (this.#first.envelope !== undefined) this.#first.envelope.isCutShort = true;
      this.#timeOut(this.#first, reason);
    }
    this.dropWaiting(reason);
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  dropWaiting(reason: Error): void {
    for (const envelope of this.#inbox.takeAll()) {
      envelope.isCutShort = true;
      this.#drop(envelope, reason);
    }
  }

  #start(envelope: Envelope): void {
    const slot = this.#free.pop() ?? new Slot(this.#finish);
    slot.envelope = envelope;
    this.#runningCount += 1;
    try {
      const result = this.handler(envelope, slot);
      if (isThenable(result)) {
        this.#watch(slot);
        try {
          result.then(slot.onDone, slot.onFailed);
        } catch (error) {
          slot.onFailed(error);
        }
        return;
      }
      this.#succeeded += 1;
    } catch (error) {
      this.#failed += 1;
      this.#fail(envelope, error);
    }
    this.#runningCount -= 1;
    slot.clear();
    this.#free.push(slot);
    this.#parts.onSettled(envelope);
  }

  readonly #finish = (slot: Slot, failure: { readonly error: unknown } | undefined): void => {
    const { envelope } = slot;
    // Its time was over before: what comes of it now is nobody's business any more.
    if (envelope === undefined) return;
    this.#unlink(slot);
    slot.clear();
    this.#free.push(slot);
    this.#runningCount -= 1;
    if (failure === undefined) {
      this.#succeeded += 1;
    } else {
      this.#failed += 1;
      this.#fail(envelope, failure.error);
    }
    this.#parts.onSettled(envelope);
    if (this.#inbox.size > 0) this.#pump();
  };

  #timeOut(slot: Slot, reason: Error): void {
    const { envelope } = slot;
    this.#unlink(slot);
    this.#runningCount -= 1;
    this.#timedOut += 1;
    slot.abandon(reason);
    if (envelope === undefined) return;
    this.#fail(envelope, reason);
    this.#parts.onSettled(envelope);
  }

  #drop(envelope: Envelope, reason: Error): void {
    this.#dropped += 1;
    this.#fail(envelope, reason);
    this.#parts.onSettled(envelope);
  }

  #fail(envelope: Envelope, error: unknown): void {
    const failure = { event: envelope, subscription: this.name, error };
    if (envelope.confirmation !== undefined) {
      envelope.failures ??= [];
      envelope.failures.push(failure);
    }
    this.#parts.onFailure(failure);
  }

  #pump(): void {
    const { concurrencyMaxCount } = this.#parts.options;
    while (this.#runningCount < concurrencyMaxCount) {
      const envelope = this.#inbox.shift();
      if (envelope === undefined) return;
      this.#start(envelope);
    }
  }

  #watch(slot: Slot): void {
    slot.startedIn = this.#tick;
    slot.previous = this.#last;
    slot.next = undefined;
    if (this.#last === undefined) this.#first = slot;
    else this.#last.next = slot;
    this.#last = slot;
    if (this.#timer === undefined) this.#setTimer();
  }

  #unlink(slot: Slot): void {
    if (slot.previous === undefined) this.#first = slot.next;
    else slot.previous.next = slot.next;
    if (slot.next === undefined) this.#last = slot.previous;
    else slot.next.previous = slot.previous;
  }

  #setTimer(): void {
    const { clock, options } = this.#parts;
    this.#timer = clock.schedule(options.timeoutMs / TICKS_PER_TIMEOUT, () => this.#onTick(), {
      unref: true,
    });
  }

  /** One timer for all runs, which goes on while there are some. */
  #onTick(): void {
    const { timeoutMs } = this.#parts.options;
    this.#timer = undefined;
    this.#tick += 1;
    while (this.#first !== undefined && this.#tick - this.#first.startedIn > TICKS_PER_TIMEOUT) {
      this.#timeOut(this.#first, new TimeoutError(`handler ${this.name}`, timeoutMs));
    }
    this.#pump();
    if (this.#first !== undefined && this.#timer === undefined) this.#setTimer();
  }
}

const isThenable = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === "object" &&
  value !== null &&
  typeof (value as { readonly then?: unknown }).then === "function";
