import type { Socket } from "node:net";
import type { Clock, Random, Timer } from "@holdfast/kernel";
import type { Faults } from "./faults.ts";

/** Bytes on their way; more hold back the sender, as a full window would. */
const QUEUE_MAX_BYTES = 1_048_576;

interface Item {
  /** Undefined is the end of the stream. */
  readonly bytes: Buffer | undefined;
  readonly dueAt: number;
}

/** The bytes of one connection in one direction, on their way through the faults. */
export class OneWay {
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #faults: () => Faults;
  readonly #bytesUntilReset: () => number;
  readonly #onPassed: (byteCount: number) => void;
  readonly #queue: Item[] = [];
  #queuedBytes = 0;
  #timer: Timer | undefined;
  /** When the last byte that was let through has left a link of limited speed. */
  #freeAt = 0;
  #lastDueAt = 0;
  /** When what is being collected now goes on in one piece. */
  #glueEndsAt = 0;
  #draining = false;
  #closed = false;

  constructor(parts: {
    readonly from: Socket;
    readonly to: Socket;
    readonly clock: Clock;
    readonly random: Random;
    readonly faults: () => Faults;
    /** How many more bytes may pass before the connection is to break; usually without limit. */
    readonly bytesUntilReset: () => number;
    readonly onPassed: (byteCount: number) => void;
  }) {
    this.#from = parts.from;
    this.#to = parts.to;
    this.#clock = parts.clock;
    this.#random = parts.random;
    this.#faults = parts.faults;
    this.#bytesUntilReset = parts.bytesUntilReset;
    this.#onPassed = parts.onPassed;
    this.#from.on("data", (bytes: Buffer) => this.#take(bytes));
    this.#from.on("end", () => this.#take(undefined));
    this.#to.on("drain", () => {
      this.#draining = false;
      this.pump();
    });
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#queue.length = 0;
  }

  /** Lets through what is due. Call it again whenever the faults change. */
  pump(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    while (!this.#closed && !this.#draining) {
      const item = this.#queue[0];
      const faults = this.#faults();
      if (!item || faults.cut) break;
      const now = this.#clock.monotonicNow();
      const leaveAt = Math.max(item.dueAt, this.#freeAt);
      if (leaveAt > now) {
        this.#timer = this.#clock.schedule(leaveAt - now, () => this.pump());
        break;
      }
      this.#queue.shift();
      if (item.bytes) this.#pass(faults.glueMs > 0 ? this.#joined(item.bytes, now) : item.bytes, faults, now);
      else this.#to.end();
    }
    if (this.#queuedBytes < QUEUE_MAX_BYTES && this.#from.isPaused()) this.#from.resume();
  }

  #take(bytes: Buffer | undefined): void {
    if (this.#closed) return;
    const { latencyMs, jitterMs, glueMs, closeDelayMs, sliceBytes } = this.#faults();
    const delay = latencyMs + this.#random.next() * jitterMs + (bytes ? 0 : closeDelayMs);
    const now = this.#clock.monotonicNow();
    if (this.#glueEndsAt <= now) this.#glueEndsAt = now + glueMs;
    const sendAt = glueMs > 0 ? this.#glueEndsAt : now;
    // Never before what was sent earlier: TCP keeps order.
    this.#lastDueAt = Math.max(this.#lastDueAt, sendAt + delay);
    if (bytes) {
      for (let start = 0; start < bytes.length; start += Math.min(sliceBytes, bytes.length)) {
        this.#queue.push({ bytes: bytes.subarray(start, start + sliceBytes), dueAt: this.#lastDueAt });
      }
      this.#queuedBytes += bytes.length;
      if (this.#queuedBytes >= QUEUE_MAX_BYTES) this.#from.pause();
    } else {
      this.#queue.push({ bytes, dueAt: this.#lastDueAt });
    }
    this.pump();
  }

  /** These bytes and all that are due with them. */
  #joined(first: Buffer, now: number): Buffer {
    const parts = [first];
    for (let next = this.#queue[0]; next?.bytes && next.dueAt <= now; next = this.#queue[0]) {
      parts.push(next.bytes);
      this.#queue.shift();
    }
    return Buffer.concat(parts);
  }

  #pass(bytes: Buffer, faults: Faults, now: number): void {
    this.#queuedBytes -= bytes.length;
    const allowed = this.#bytesUntilReset();
    if (allowed <= bytes.length) {
      this.close();
      this.#to.write(bytes.subarray(0, allowed), () => this.#onPassed(allowed));
      return;
    }
    const seconds = bytes.length / faults.bytesPerSecond;
    // A slice is passed when it has left the link, and at least one turn after the one before it.
    this.#freeAt =
      now +
      (faults.sliceBytes < Number.POSITIVE_INFINITY ? Math.max(seconds * 1_000, 0.01) : seconds * 1_000);
    if (!this.#to.write(bytes)) this.#draining = true;
    this.#onPassed(bytes.length);
  }
}
