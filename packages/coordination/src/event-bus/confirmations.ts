import { type Clock, TimeoutError, type Timer } from "@holdfast/kernel";
import type { Delivery } from "./bus-event.ts";

/** A sender that waits until every handler of its event has settled. The first end counts. */
export class Confirmation {
  readonly promise: Promise<Delivery>;
  readonly type: string;
  readonly timeoutMs: number;
  readonly deadline: number;
  readonly #owner: Confirmations;
  #resolve: ((delivery: Delivery) => void) | undefined;
  #reject: ((reason: unknown) => void) | undefined;

  constructor(owner: Confirmations, type: string, timeoutMs: number, deadline: number) {
    this.#owner = owner;
    this.type = type;
    this.timeoutMs = timeoutMs;
    this.deadline = deadline;
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  resolve(delivery: Delivery): void {
    this.#owner.forget(this);
    this.#resolve?.(delivery);
  }

  reject(reason: unknown): void {
    this.#owner.forget(this);
    this.#reject?.(reason);
  }
}

/**
 * All senders that wait, with one timer for all of them: it is set for the earliest deadline and not taken back when
 * that sender is answered, which nearly all are. It holds no process open.
 */
export class Confirmations {
  readonly #clock: Clock;
  readonly #waiting = new Set<Confirmation>();
  #timer: Timer | undefined;
  #timerAt = Number.POSITIVE_INFINITY;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  begin(type: string, timeoutMs: number): Confirmation {
    const now = this.#clock.monotonicNow();
    const confirmation = new Confirmation(this, type, timeoutMs, now + timeoutMs);
    this.#waiting.add(confirmation);
    if (confirmation.deadline < this.#timerAt) this.#setTimer(confirmation.deadline, now);
    return confirmation;
  }

  forget(confirmation: Confirmation): void {
    this.#waiting.delete(confirmation);
  }

  #setTimer(at: number, now: number): void {
    this.#timer?.cancel();
    this.#timerAt = at;
    this.#timer = this.#clock.schedule(at - now, () => this.#onTimer(), { unref: true });
  }

  #onTimer(): void {
    const now = this.#clock.monotonicNow();
    let next = Number.POSITIVE_INFINITY;
    this.#timer = undefined;
    this.#timerAt = next;
    for (const each of this.#waiting) {
      if (each.deadline <= now) each.reject(new TimeoutError(`delivery of ${each.type}`, each.timeoutMs));
      else next = Math.min(next, each.deadline);
    }
    if (next !== Number.POSITIVE_INFINITY) this.#setTimer(next, now);
  }
}
