import type { Log, Position } from "@holdfast/coordination";
import type { Clock, Logger, TaskGroup } from "@holdfast/kernel";
import { jobStream } from "../model/job-stream.ts";
import { type JobTail, type TailEntry, takeChunk, toTailEntry } from "./job-tail.ts";
import type { PushLane } from "./push-lane.ts";

/** What a subscription needs of the feed that owns it. */
export interface FeedTarget {
  readonly log: Pick<Log<unknown>, "read">;
  readonly clock: Clock;
  readonly tasks: TaskGroup;
  readonly logger: Logger;
  readonly chunk: { readonly entryMaxCount: number; readonly sizeMaxBytes: number };
  /** The connection's buffer is full: call `serve` when it has drained. */
  readonly onPaused: (subscription: FeedSubscription) => void;
  readonly onPushed: (eventCount: number) => void;
  /** Closed, by either side or because the job's last event was sent. Called once. */
  readonly onEnded: (subscription: FeedSubscription) => void;
}

/** Entries per read of history. */
const READ_MAX_COUNT = 500;
const READ_RETRY_MIN_MS = 100;
const READ_RETRY_MAX_MS = 5_000;

/**
 * One watcher of one job on one connection. It holds a position and nothing else: what it has to send comes
 * from the job's tail in memory or from the store, when the connection can take it.
 */
export class FeedSubscription {
  readonly lane: PushLane;
  readonly subscriptionId: string;
  readonly jobId: string;
  readonly #together: boolean;
  readonly #target: FeedTarget;
  readonly #tail: JobTail;
  /** Only while the store is read. */
  #reading: AbortController | undefined;
  #position: Position | undefined;
  #reset: "trimmed" | "epoch-changed" | "ahead-of-head" | undefined;
  #isClosed = false;

  constructor(
    target: FeedTarget,
    options: {
      readonly lane: PushLane;
      readonly subscriptionId: string;
      /** The other side takes pushes of several subscriptions in one message. */
      readonly together: boolean;
      readonly jobId: string;
      readonly tail: JobTail;
      /** Where to go on; undefined: from the beginning. */
      readonly position: Position | undefined;
    },
  ) {
    this.#target = target;
    this.lane = options.lane;
    this.#together = options.together;
    this.subscriptionId = options.subscriptionId;
    this.jobId = options.jobId;
    this.#tail = options.tail;
    this.#position = options.position;
  }

  /** Sends what there is, until the connection is full or nothing newer is known. Never throws, never waits. */
  serve(): void {
    if (this.#reading !== undefined) return;
    while (this.#canSend()) {
      const answer = this.#tail.after(this.#position, this.#target.chunk);
      if (answer.kind === "entries") {
        if (!this.#push(answer.entries)) return;
        continue;
      }
      if (answer.kind === "stored") {
        const reading = new AbortController();
        this.#reading = reading;
        this.#target.tasks.spawn(`replay ${this.jobId}`, () => this.#replay(reading.signal));
        return;
      }
      if (this.#reset !== undefined && !this.#push([])) return;
      if (this.#tail.isPastEnd(this.#position)) this.#push([], { end: true });
      return;
    }
  }

  /** Sends no more. Idempotent. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#reading?.abort(new Error("the subscription was closed"));
    this.#target.onEnded(this);
  }

  #canSend(): boolean {
    if (this.#isClosed || !this.lane.peer.isOpen) return false;
    if (this.lane.hasRoom) return true;
    this.#target.onPaused(this);
    return false;
  }

  /** False when it was not sent; the position is unchanged then. */
  #push(entries: readonly TailEntry[], options: { readonly end?: boolean } = {}): boolean {
    const last = entries.at(-1);
    const end = options.end ?? last?.isLast ?? false;
    const payload = {
      subscriptionId: this.subscriptionId,
      jobId: this.jobId,
      events: entries.map(({ event }) => event),
      ...(this.#reset === undefined ? {} : { reset: { reason: this.#reset } }),
      end,
    };
    const sent = this.#together ? this.lane.pushTogether(payload, sizeOf(entries)) : this.lane.push(payload);
    if (!sent) {
      // Over the connection's own limit, or closed: its close handler cleans up then.
      if (this.lane.peer.isOpen) this.#target.onPaused(this);
      return false;
    }
    this.#reset = undefined;
    if (last !== undefined) this.#position = { epoch: last.epoch, offset: last.offset };
    this.#target.onPushed(entries.length);
    if (end) this.close();
    return !end;
  }

  /** Sends history from the store until the tail in memory can go on, or the connection is full. */
  async #replay(signal: AbortSignal): Promise<void> {
    let retryMs = READ_RETRY_MIN_MS;
    try {
      while (this.#canSend()) {
        const headBefore = this.#tail.head?.offset;
        try {
          const isComplete = await this.#replayOnce(signal);
          retryMs = READ_RETRY_MIN_MS;
          // Unless the log grew meanwhile by something that is in memory no more.
          if (isComplete && (this.#tail.head?.offset === headBefore || !this.#needsStore())) break;
        } catch (error) {
          if (signal.aborted) return;
          // The store is away: the watcher waits at its position.
          this.#target.logger.warn(
            { err: error, jobId: this.jobId, retryInMs: retryMs },
            "a job's history could not be read for a watcher; trying again",
          );
          await this.#target.clock.sleep(retryMs, { signal }).catch(() => undefined);
          retryMs = Math.min(retryMs * 2, READ_RETRY_MAX_MS);
        }
      }
    } finally {
      this.#reading = undefined;
    }
    if (this.#canSend() && !this.#needsStore()) this.serve();
  }

  #needsStore(): boolean {
    return this.#tail.after(this.#position, this.#target.chunk).kind === "stored";
  }

  /** True when the store has nothing more, or the tail in memory has what follows. */
  async #replayOnce(signal: AbortSignal): Promise<boolean> {
    const read = await this.#target.log.read(jobStream(this.jobId), {
      after: this.#position,
      limit: READ_MAX_COUNT,
      signal,
    });
    if (this.#isClosed) return true;
    this.#tail.advance(read.bounds);
    if (read.kind === "reset") {
      this.#reset = read.reason;
      this.#position = { epoch: read.bounds.head.epoch, offset: read.bounds.trimmedTo };
      return false;
    }
    const entries = read.entries.map(toTailEntry);
    if (entries.length === 0) {
      // An empty log or the end of it; from here on the position is known.
      this.#position ??= { epoch: read.bounds.head.epoch, offset: read.bounds.trimmedTo };
      if (this.#reset !== undefined) this.#push([]);
      if (this.#tail.isPastEnd(this.#position) && !this.#isClosed) this.#push([], { end: true });
      return true;
    }
    for (let start = 0; start < entries.length; ) {
      const chunk = takeChunk(entries, start, this.#target.chunk);
      if (!this.#canSend() || !this.#push(chunk)) return true;
      start += chunk.length;
    }
    return !this.#needsStore();
  }
}

/** About what a push takes beside its events. */
const ENVELOPE_BYTES = 96;

const sizeOf = (entries: readonly TailEntry[]): number =>
  entries.reduce((bytes, { sizeBytes }) => bytes + sizeBytes, ENVELOPE_BYTES);
