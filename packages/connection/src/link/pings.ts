import { type Clock, TimeoutError } from "@holdfast/kernel";
import type { RequestOptions } from "../peer.ts";
import { checkWait } from "./wait-limit.ts";

const PING_TIMEOUT_MS = 5_000;

interface Waiting {
  readonly sentAt: number;
  readonly resolve: (elapsedMs: number) => void;
  readonly reject: (reason: unknown) => void;
}

/** The pings of one connection: those of the heartbeat, and those that someone waits for. */
export class Pings {
  readonly #clock: Clock;
  readonly #remoteAddress: string;
  readonly #sendPing: (sequence: bigint) => void;
  readonly #waiting = new Map<bigint, Waiting>();
  #nextSequence = 0n;

  constructor(clock: Clock, remoteAddress: string, sendPing: (sequence: bigint) => void) {
    this.#clock = clock;
    this.#remoteAddress = remoteAddress;
    this.#sendPing = sendPing;
  }

  send(): bigint {
    const sequence = this.#nextSequence;
    this.#nextSequence += 1n;
    this.#sendPing(sequence);
    return sequence;
  }

  /** @throws InvalidInputError, TimeoutError, signal.reason, and what `failAll` is given. */
  measure({ signal, timeoutMs = PING_TIMEOUT_MS }: RequestOptions): Promise<number> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) throw signal.reason;
      checkWait("timeoutMs", timeoutMs);
      const sequence = this.send();
      const settle = (): void => {
        this.#waiting.delete(sequence);
        timer.cancel();
        signal?.removeEventListener("abort", onAbort);
      };
      const fail = (reason: unknown): void => {
        settle();
        reject(reason);
      };
      const onAbort = (): void => fail(signal?.reason);
      const timer = this.#clock.schedule(timeoutMs, () =>
        fail(new TimeoutError(`ping of ${this.#remoteAddress}`, timeoutMs)),
      );
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#waiting.set(sequence, {
        sentAt: this.#clock.monotonicNow(),
        resolve: (elapsedMs) => {
          settle();
          resolve(elapsedMs);
        },
        reject: fail,
      });
    });
  }

  /** A pong that nobody waits for belongs to a heartbeat, or came too late. */
  onPong(sequence: bigint): void {
    const waiting = this.#waiting.get(sequence);
    waiting?.resolve(this.#clock.monotonicNow() - waiting.sentAt);
  }

  failAll(error: Error): void {
    for (const waiting of [...this.#waiting.values()]) waiting.reject(error);
  }
}
