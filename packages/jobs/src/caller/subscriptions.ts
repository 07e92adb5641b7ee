import type { Handlers } from "@holdfast/connection";
import { newId, type Random } from "@holdfast/kernel";
import { jobEvents } from "@holdfast/protocol/contract";
import type { EventBuffer } from "./event-buffer.ts";

/** Least time between two questions after silent watches of one client, milliseconds: a thousand silent watches ask once in 100 s each. */
const QUESTION_SPACING_MS = 100;

/** Brings each push to the watch that it is for. */
export class Subscriptions {
  readonly #random: Random;
  readonly #buffers = new Map<string, EventBuffer>();

  constructor(handlers: Handlers, random: Random) {
    this.#random = random;
    handlers.onPush(jobEvents, (push) => this.#buffers.get(push.subscriptionId)?.take(push));
  }

  get size(): number {
    return this.#buffers.size;
  }

  /** Returns the subscription's id. */
  add(buffer: EventBuffer): string {
    const subscriptionId = newId("sub", this.#random);
    this.#buffers.set(subscriptionId, buffer);
    return subscriptionId;
  }

  remove(subscriptionId: string): void {
    this.#buffers.delete(subscriptionId);
  }

  /** How long a watch may be silent before its node is asked: longer when there are many watches. */
  silenceMs(baseMs: number): number {
    return Math.max(baseMs, this.#buffers.size * QUESTION_SPACING_MS);
  }
}
