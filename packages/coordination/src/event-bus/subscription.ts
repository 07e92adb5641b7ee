import { type Clock, TimeoutError, type Timer } from "@holdfast/kernel";
import { InboxFullError } from "../errors.ts";
import type { BusEvent, HandlerFailure } from "./bus-event.ts";
import type { Envelope } from "./envelope.ts";
import { Fifo } from "./fifo.ts";

/** What a handler may ask about the run it is in. */
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
   * Longest run of the handler, milliseconds. Then its signal aborts, the run counts as timed out and the next
   * event is handled, even if the handler goes on. Default 30_000.
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

/** One run of a handler. The list of them is in the order of their deadlines, since all have the same time. */
class Run implements HandlerContext {
  readonly envelope: Envelope;
  deadline = 0;
  isSettled = false;
  previous: Run | undefined;
  next: Run | undefined;
  #controller: AbortController | undefined;
  #reason: Error | undefined;

  constructor(envelope: Envelope) {
    this.envelope = envelope;
  }

  /** Made only for handlers that look at it. */
  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.#reason !== undefined) this.#controller.abort(this.#reason);
    return this.#controller.signal;
  }

  abort(reason: Error): void {
    this.#reason = reason;
    this.#controller?.abort(reason);
  }
}

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
  #first: Run | undefined;
  #last: Run | undefined;
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
      this.#first.envelope.isCutShort = true;
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
    const run = new Run(envelope);
    this.#runningCount += 1;
    try {
      const result = this.handler(envelope, run);
      if (!isThenable(result)) {
        this.#runningCount -= 1;
        this.#succeeded += 1;
        this.#parts.onSettled(envelope);
        return;
      }
      this.#watch(run);
      result.then(
        () => this.#finish(run, undefined),
        (error: unknown) => this.#finish(run, { error }),
      );
    } catch (error) {
      this.#runningCount -= 1;
      this.#failed += 1;
      this.#fail(envelope, error);
      this.#parts.onSettled(envelope);
    }
  }

  #finish(run: Run, failure: { readonly error: unknown } | undefined): void {
    if (run.isSettled) return;
    this.#unlink(run);
    this.#runningCount -= 1;
    if (failure === undefined) {
      this.#succeeded += 1;
    } else {
      this.#failed += 1;
      this.#fail(run.envelope, failure.error);
    }
    this.#parts.onSettled(run.envelope);
    this.#pump();
  }

  #timeOut(run: Run, reason: Error): void {
    this.#unlink(run);
    this.#runningCount -= 1;
    this.#timedOut += 1;
    run.abort(reason);
    this.#fail(run.envelope, reason);
    this.#parts.onSettled(run.envelope);
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

  #watch(run: Run): void {
    const { clock, options } = this.#parts;
    run.deadline = clock.monotonicNow() + options.timeoutMs;
    run.previous = this.#last;
    if (this.#last === undefined) this.#first = run;
    else this.#last.next = run;
    this.#last = run;
    this.#timer ??= clock.schedule(options.timeoutMs, () => this.#onTimer(), { unref: true });
  }

  #unlink(run: Run): void {
    run.isSettled = true;
    if (run.previous === undefined) this.#first = run.next;
    else run.previous.next = run.next;
    if (run.next === undefined) this.#last = run.previous;
    else run.next.previous = run.previous;
  }

  /** One timer for all runs: it looks at the oldest, and comes back when that one's time is over. */
  #onTimer(): void {
    const { clock, options } = this.#parts;
    this.#timer = undefined;
    const now = clock.monotonicNow();
    while (this.#first !== undefined && this.#first.deadline <= now) {
      this.#timeOut(this.#first, new TimeoutError(`handler ${this.name}`, options.timeoutMs));
    }
    this.#pump();
    if (this.#first !== undefined && this.#timer === undefined) {
      this.#timer = clock.schedule(this.#first.deadline - now, () => this.#onTimer(), { unref: true });
    }
  }
}

const isThenable = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === "object" &&
  value !== null &&
  typeof (value as { readonly then?: unknown }).then === "function";
