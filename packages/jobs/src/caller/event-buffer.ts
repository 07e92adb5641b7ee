import type { WirePosition } from "@holdfast/coordination";
import { type Clock, type Deferred, deferred, untilAborted } from "@holdfast/kernel";
import type { JobEventsPush } from "@holdfast/protocol/contract";
import { approximateBytes } from "../model/approximate-bytes.ts";
import type { FollowItem } from "./follow-job.ts";
import type { PushTarget } from "./subscriptions.ts";

type BufferedItem = Exclude<FollowItem, { readonly kind: "connection" }>;

/** Why a wait for events ended. */
export type BufferWake =
  /** There is something to take, or a reason to follow again. */
  | "changed"
  /** Nothing came for the given time. */
  | "silent";

/**
 * What was pushed and not yet consumed of one watch. It lets through only what continues the position: repeats
 * are dropped, what only a later version can read is passed over, and after a gap, or when the consumer is too slow, it takes nothing more until the caller has
 * consumed what is here and follows again from `position`.
 */
export class EventBuffer implements PushTarget {
  /** Called when pushes begin to be dropped because the consumer is slow: stop sending them. */
  onFull: () => void = () => undefined;
  /** Called when there is something to take, or a reason to follow again; instead of ending a `wait`. */
  onChanged: (() => void) | undefined;
  readonly #clock: Clock;
  readonly #countMax: number;
  readonly #bytesMax: number;
  #items: BufferedItem[] = [];
  #sizeBytes = 0;
  #position: WirePosition | undefined;
  /** After a reset any next position is right. */
  #acceptsAny = false;
  #needsFollow = false;
  #isEnded = false;
  #waiter: Deferred<BufferWake> | undefined;

  constructor(options: {
    readonly clock: Clock;
    readonly after: WirePosition | undefined;
    readonly countMax: number;
    readonly bytesMax: number;
  }) {
    this.#clock = options.clock;
    this.#position = options.after;
    this.#countMax = options.countMax;
    this.#bytesMax = options.bytesMax;
  }

  /** Up to where events were taken in, consumed or not; follow again from here. */
  get position(): WirePosition | undefined {
    return this.#position;
  }

  /** A gap was seen or the bound was reached: pushes are dropped until `reopen`. */
  get needsFollow(): boolean {
    return this.#needsFollow;
  }

  /** The last event of the job was taken in. */
  get isEnded(): boolean {
    return this.#isEnded;
  }

  /** Takes in one push. Never throws. */
  take(push: JobEventsPush): void {
    if (this.#isEnded || this.#needsFollow) return;
    if (push.reset !== undefined) {
      this.#add({ kind: "reset", reason: push.reset.reason }, 64);
      this.#position = undefined;
      this.#acceptsAny = true;
    }
    for (const { position, event } of push.events) {
      const order = this.#compare(position);
      if (order === "repeat") continue;
      const isFull = this.#isFull();
      if (order === "gap" || isFull) {
        this.#needsFollow = true;
        if (isFull) this.onFull();
        break;
      }
      this.#position = position;
      this.#acceptsAny = false;
      if (event.type !== "later") this.#add({ kind: "event", position, event }, approximateBytes(event));
    }
    if (push.end && !this.#needsFollow) this.#isEnded = true;
    this.wake();
  }

  /** Everything that was not consumed yet, in order. */
  takeAll(): readonly BufferedItem[] {
    const items = this.#items;
    this.#items = [];
    this.#sizeBytes = 0;
    return items;
  }

  /** Takes pushes again. */
  reopen(): void {
    this.#needsFollow = false;
  }

  /** Ends the wait of the consumer. */
  wake(): void {
    if (this.onChanged !== undefined) this.onChanged();
    else this.#waiter?.resolve("changed");
  }

  /**
   * Waits until something was pushed, `wake` is called, or `silenceMs` have passed. For one consumer.
   * @throws signal.reason when aborted.
   */
  async wait(options: { readonly silenceMs: number; readonly signal: AbortSignal }): Promise<BufferWake> {
    const waiter = deferred<BufferWake>();
    this.#waiter = waiter;
    const timer = this.#clock.schedule(options.silenceMs, () => waiter.resolve("silent"));
    try {
      return await untilAborted(waiter.promise, options.signal);
    } finally {
      timer.cancel();
      this.#waiter = undefined;
    }
  }

  #compare(next: WirePosition): "next" | "repeat" | "gap" {
    if (this.#acceptsAny) return "next";
    const current = this.#position;
    if (current === undefined) {
      // A log begins with offset 1. One that was trimmed says so, but only to those who name a position.
      if (next.offset === "1") return "next";
      this.#position = { epoch: next.epoch, offset: "0" };
      return "gap";
    }
    // Before the first event there is no telling lives of a log apart.
    if (current.offset === "0" && next.offset === "1") return "next";
    if (next.epoch !== current.epoch) return "gap";
    const distance = BigInt(next.offset) - BigInt(current.offset);
    return distance <= 0n ? "repeat" : distance === 1n ? "next" : "gap";
  }

  #isFull(): boolean {
    return this.#items.length >= this.#countMax || this.#sizeBytes >= this.#bytesMax;
  }

  #add(item: BufferedItem, sizeBytes: number): void {
    this.#items.push(item);
    this.#sizeBytes += sizeBytes;
  }
}
