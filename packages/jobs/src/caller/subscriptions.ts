import type { Handlers } from "@holdfast/connection";
import { newId, type Random } from "@holdfast/kernel";
import { type JobEventsPush, jobEvents, jobEventsAll } from "@holdfast/protocol/contract";

/** Least time between two questions after silent watches of one client, milliseconds: a thousand silent watches ask once in 100 s each. */
const QUESTION_SPACING_MS = 100;

/** Takes the pushes of one subscription. Must not throw. */
export interface PushTarget {
  take(push: JobEventsPush): void;
}

/** Brings each push to the watch that it is for. */
export class Subscriptions {
  readonly #prefix: string;
  readonly #targets = new Map<string, PushTarget>();
  #lastNumber = 0;

  constructor(handlers: Handlers, random: Random) {
    this.#prefix = newId("sub", random);
    const take = (push: JobEventsPush): void => this.#targets.get(push.subscriptionId)?.take(push);
    handlers.onPush(jobEvents, take);
    handlers.onPush(jobEventsAll, ({ feeds }) => {
      for (const push of feeds) take(push);
    });
  }

  /** Returns the subscription's id. */
  add(target: PushTarget): string {
    this.#lastNumber += 1;
    const subscriptionId = `${this.#prefix}-${this.#lastNumber}`;
    this.#targets.set(subscriptionId, target);
    return subscriptionId;
  }

  remove(subscriptionId: string): void {
    this.#targets.delete(subscriptionId);
  }

  /** How long a watch may be silent before its node is asked: longer when there are many watches. */
  silenceMs(baseMs: number): number {
    return Math.max(baseMs, this.#targets.size * QUESTION_SPACING_MS);
  }
}
