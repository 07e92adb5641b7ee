import type { Clock, Timer } from "@holdfast/kernel";
import type { Envelope } from "./envelope.ts";
import { Fifo } from "./fifo.ts";

interface Waiter {
  readonly envelope: Envelope;
  readonly admit: () => void;
  readonly end: () => void;
  timer: Timer | undefined;
  isOver: boolean;
}

/** Those who wait for room, first come, first served; critical events before all others. */
export class Admission {
  readonly #clock: Clock;
  readonly #maxCount: number;
  readonly #critical = new Fifo<Waiter>();
  readonly #other = new Fifo<Waiter>();
  #count = 0;

  constructor(clock: Clock, maxCount: number) {
    this.#clock = clock;
    this.#maxCount = maxCount;
  }

  get count(): number {
    return this.#count;
  }

  get isFull(): boolean {
    return this.#count >= this.#maxCount;
  }

  /**
   * Waits until `admitNext` lets the envelope in (true), or until `waitMs` have passed (false).
   * @throws signal.reason when aborted first.
   */
  wait(envelope: Envelope, waitMs: number, signal: AbortSignal | undefined): Promise<boolean> {
    return new Promise<boolean>((resolve, reject) => {
      const settle = (finish: () => void): void => {
        waiter.isOver = true;
        waiter.timer?.cancel();
        signal?.removeEventListener("abort", onAbort);
        this.#count -= 1;
        finish();
      };
      const onAbort = (): void => settle(() => reject(signal?.reason));
      const waiter: Waiter = {
        envelope,
        admit: () => settle(() => resolve(true)),
        end: () => settle(() => resolve(false)),
        timer: undefined,
        isOver: false,
      };
      this.#count += 1;
      (envelope.isCritical ? this.#critical : this.#other).push(waiter);
      waiter.timer = this.#clock.schedule(waitMs, waiter.end);
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  }

  /** The envelope whose turn it is, if there is room for it; the caller takes it in. */
  admitNext(hasRoomFor: (envelope: Envelope) => boolean): Envelope | undefined {
    for (const line of [this.#critical, this.#other]) {
      while (line.peek()?.isOver) line.shift();
      const waiter = line.peek();
      if (waiter === undefined || !hasRoomFor(waiter.envelope)) continue;
      line.shift();
      waiter.admit();
      return waiter.envelope;
    }
    return undefined;
  }
}
