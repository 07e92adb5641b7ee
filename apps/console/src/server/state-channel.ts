import { type Clock, type Random, randomInt, type TaskGroup } from "@holdfast/kernel";
import type {
  ChannelBounds,
  ChannelEvent,
  ChannelFollower,
  ChannelRead,
  Following,
} from "@holdfast/live/server";

/** How often the state is looked at while somebody watches it. */
const LOOK_EVERY_MS = 1_000;

/**
 * A channel whose events are whole states: what `look` brought, when it differs from the time before. One look serves
 * all pages, and there is none while nobody follows. Only the newest event is kept.
 */
export class StateChannel {
  readonly #name: string;
  readonly #look: (signal: AbortSignal) => Promise<unknown>;
  readonly #clock: Clock;
  readonly #tasks: TaskGroup;
  readonly #followers = new Set<ChannelFollower>();
  #epoch: bigint;
  #offset = 0n;
  #newest: ChannelEvent | undefined;
  #isRunning = false;

  constructor(parts: {
    readonly name: string;
    readonly look: (signal: AbortSignal) => Promise<unknown>;
    readonly clock: Clock;
    readonly random: Random;
    readonly tasks: TaskGroup;
  }) {
    this.#name = parts.name;
    this.#look = parts.look;
    this.#clock = parts.clock;
    this.#tasks = parts.tasks;
    // Positions of another process mean nothing here.
    this.#epoch = (BigInt(parts.clock.wallNow()) << 20n) + BigInt(randomInt(parts.random, 2 ** 20));
  }

  get bounds(): ChannelBounds {
    const head = { epoch: this.#epoch, offset: this.#offset };
    return { head, trimmedTo: this.#offset === 0n ? 0n : this.#offset - 1n, isState: true };
  }

  read(after: ChannelBounds["head"]): ChannelRead {
    const { bounds } = this;
    const { head, trimmedTo } = bounds;
    if (after.epoch !== head.epoch || after.offset < trimmedTo || after.offset > head.offset) {
      return {
        kind: "reset",
        reason: "trimmed",
        bounds: { ...bounds, head: { ...head, offset: trimmedTo } },
      };
    }
    const isKnown = after.offset === head.offset || this.#newest === undefined;
    return { kind: "events", events: isKnown ? [] : [this.#newest as ChannelEvent], bounds };
  }

  follow(follower: ChannelFollower): Following {
    this.#followers.add(follower);
    const { bounds } = this;
    if (!this.#isRunning) {
      this.#isRunning = true;
      this.#tasks.spawn(`look at ${this.#name}`, (signal) => this.#run(signal));
    }
    return { bounds, close: () => void this.#followers.delete(follower) };
  }

  async #run(signal: AbortSignal): Promise<void> {
    try {
      while (this.#followers.size > 0) {
        await this.#lookOnce(signal);
        await this.#clock.sleep(LOOK_EVERY_MS, { signal });
      }
    } finally {
      // Whoever comes next begins with a fresh look, in a life of its own.
      this.#isRunning = false;
      this.#newest = undefined;
      this.#epoch += 1n;
      this.#offset = 0n;
    }
  }

  async #lookOnce(signal: AbortSignal): Promise<void> {
    let payloadText: string;
    try {
      payloadText = JSON.stringify(await this.#look(signal));
    } catch (error) {
      if (signal.aborted) throw error;
      // The pages keep what they have; the next look may succeed.
      return;
    }
    if (payloadText === this.#newest?.payloadText) return;
    this.#offset += 1n;
    const event: ChannelEvent = {
      channel: this.#name,
      event: "state",
      payloadText,
      id: `${this.#epoch}-${this.#offset}`,
      position: { epoch: this.#epoch, offset: this.#offset },
      ts: this.#clock.wallNow(),
    };
    this.#newest = event;
    for (const follower of [...this.#followers]) follower.onEvents([event]);
  }
}
