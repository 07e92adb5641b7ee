import { type Clock, type Random, randomInt, type TaskGroup, withTimeout } from "@holdfast/kernel";
import type {
  ChannelBounds,
  ChannelEvent,
  ChannelFollower,
  ChannelRead,
  Following,
} from "@holdfast/live/server";
import { STALE_EVENT, type StaleState } from "../messages.ts";
import { problemOf } from "./problem-of.ts";

/** How often the state is looked at while somebody watches it. */
const LOOK_EVERY_MS = 1_000;
/** Pages are told that what they show is old when a look takes longer: one that works takes some milliseconds. */
const SLOW_AFTER_MS = 3_000;
/** A look that takes longer has failed, and the next one begins. What is asked has limits of its own, some of a minute. */
const LOOK_TIMEOUT_MS = 15_000;

/**
 * A channel whose events are whole states: `state` is what `look` brought, when it differs from the time before, and
 * `stale` what it brought last, when it fails or is slow, with the reason and the time (`StaleState`). One look serves
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
  /** What the last look that succeeded brought. */
  #seen: { readonly stateText: string; readonly at: number } | undefined;
  #staleBecause: string | undefined;
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
      this.#seen = undefined;
      this.#staleBecause = undefined;
      this.#epoch += 1n;
      this.#offset = 0n;
    }
  }

  async #lookOnce(signal: AbortSignal): Promise<void> {
    const at = this.#clock.wallNow();
    const slow = this.#clock.schedule(SLOW_AFTER_MS, () => {
      // What went wrong before says more.
      if (this.#staleBecause === undefined) this.#tellStale(`no answer for ${SLOW_AFTER_MS / 1_000} s`);
    });
    try {
      const options = { operation: `a look at ${this.#name}`, timeoutMs: LOOK_TIMEOUT_MS, signal };
      const stateText = JSON.stringify(await withTimeout(this.#clock, options, this.#look));
      const isNew = stateText !== this.#seen?.stateText || this.#staleBecause !== undefined;
      this.#seen = { stateText, at };
      this.#staleBecause = undefined;
      if (isNew) this.#tell("state", stateText);
    } catch (error) {
      if (signal.aborted) throw error;
      this.#tellStale(problemOf(error));
    } finally {
      slow.cancel();
    }
  }

  #tellStale(message: string): void {
    if (message === this.#staleBecause) return;
    this.#staleBecause = message;
    const state: unknown = this.#seen === undefined ? null : JSON.parse(this.#seen.stateText);
    const stale: StaleState = { state, seenAt: this.#seen?.at ?? null, message };
    this.#tell(STALE_EVENT, JSON.stringify(stale));
  }

  #tell(name: string, payloadText: string): void {
    this.#offset += 1n;
    const event: ChannelEvent = {
      channel: this.#name,
      event: name,
      payloadText,
      id: `${this.#epoch}-${this.#offset}`,
      position: { epoch: this.#epoch, offset: this.#offset },
      ts: this.#clock.wallNow(),
    };
    this.#newest = event;
    for (const follower of [...this.#followers]) follower.onEvents([event]);
  }
}
