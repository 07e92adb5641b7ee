import {
  type Clock,
  InvalidInputError,
  newId,
  OverloadedError,
  type Random,
  systemClock,
  systemRandom,
  type Timer,
} from "@holdfast/kernel";
import type { Change } from "./change.ts";
import { Fetches } from "./fetches.ts";
import { KeyListeners } from "./key-listeners.ts";
import type { MutateOptions, Mutation, Mutators, OptimisticStoreOptions, Refetch } from "./mutation.ts";
import type { QueuedMutation } from "./offline-queue.ts";
import { OverlayLog } from "./overlay-log.ts";
import { type OverlayMessage, parseOverlayMessage } from "./overlay-message.ts";
import type { QueryKey } from "./query-key.ts";
import { storeLimitsOf } from "./store-limits.ts";

/** Ids of settled mutations that are remembered, so that a late echo is still known as our own. */
const SETTLED_MAX_COUNT = 1_000;
const FAILED_MAX_COUNT = 100;

interface Tracked {
  readonly id: string;
  readonly name: string;
  args: unknown;
  acknowledgedAt: number | undefined;
  isEchoed: boolean;
  timer: Timer | undefined;
  /** Made here, not heard of from another tab. */
  isOurs: boolean;
}

/**
 * Shows changes at once and keeps them shown until the server's own data has them.
 *
 * A mutation is pending, then acknowledged by the answer of `send`, then settled by whichever comes first: its
 * event (`handleEvent`), a refetch begun after the acknowledgement, or a refetch of our own when neither came in
 * time. A failure takes back that mutation alone.
 */
export class OptimisticStore<M extends Mutators> implements Disposable {
  readonly #options: OptimisticStoreOptions<M>;
  readonly #limits: ReturnType<typeof storeLimitsOf>;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #log: OverlayLog;
  readonly #tracked = new Map<string, Tracked>();
  readonly #failed = new Map<string, () => Mutation<unknown>>();
  readonly #settled = new Set<string>();
  /** Come out of the offline queue's storage, and not in its line yet. */
  readonly #restored = new Set<string>();
  /** Settled, and still drawn over the base; with the place of their acknowledgement. */
  readonly #settling = new Map<string, number>();
  readonly #fetches: Fetches;
  readonly #listeners: KeyListeners;
  readonly #stopTabs: (() => void) | undefined;
  #sequence = 0;
  #isDisposed = false;

  /** @throws InvalidInputError naming the option that is out of range. */
  constructor(options: OptimisticStoreOptions<M>) {
    this.#limits = storeLimitsOf(options);
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? systemRandom;
    this.#fetches = new Fetches(this.#clock);
    this.#listeners = new KeyListeners((error) => options.onError?.(error));
    this.#log = new OverlayLog((key) => this.#listeners.notify(key));
    this.#stopTabs = options.tabs?.onTabMessage((message) =>
      this.#onTabMessage(parseOverlayMessage(message)),
    );
    this.#restore().catch((error: unknown) => options.onError?.(error));
  }

  get pendingCount(): number {
    return this.#log.pendingCount;
  }

  /** What to show for a key: the confirmed value with everything pending drawn over it. The same object until it changes. */
  value(key: QueryKey): unknown {
    return this.#log.value(key);
  }

  /** Calls back when the value of a key may have changed; what it throws goes to `onError`. Returns the function that stops it. */
  subscribe(key: QueryKey, listener: () => void): () => void {
    return this.#listeners.add(key, listener);
  }

  /** Sets confirmed data that was not fetched just now: from storage, or out of an event. */
  setBase(key: QueryKey, value: unknown): void {
    this.#log.setBase(key, value);
  }

  /**
   * Call before fetching a key, then `complete` with what came, or `abandon`. Mutations acknowledged before the fetch
   * began are in its answer and settle by it; later ones stay drawn over it, also those that settle meanwhile. An
   * answer that comes after that of a fetch begun later is dropped: it is older.
   */
  beginRefetch(key: QueryKey): Refetch {
    const begunAt = this.#sequence;
    const fetch = this.#fetches.begin(key, begunAt);
    const end = (): void => {
      if (fetch.end()) this.#confirmSettled();
    };
    return {
      complete: (value) => {
        if (!fetch.isUnderWay) return;
        if (fetch.answer()) {
          const contained = this.#acknowledgedUpTo(begunAt);
          this.#log.setBase(key, value, contained);
          for (const id of contained) if (this.#log.openKeys(id).length === 0) this.#settle(id);
        }
        end();
      },
      abandon: end,
    };
  }

  /** Drops the confirmed value of a key that nobody shows any more. */
  forget(key: QueryKey): void {
    if (this.#listeners.has(key)) return;
    this.#fetches.forget(key);
    this.#log.forget(key);
  }

  /**
   * Changes the shown values now, then sends. The change is visible when this returns.
   * @throws OverloadedError when `pendingMaxCount` are pending; nothing was changed.
   */
  mutate<K extends keyof M & string, Result>(
    name: K,
    args: Parameters<M[K]>[0],
    options: MutateOptions<Parameters<M[K]>[0], Result>,
  ): Mutation<Result> {
    return this.#start(newId("m", this.#random), name, args, options as MutateOptions<unknown, Result>);
  }

  /**
   * Sends a failed mutation again, under its old id, so that a server that did take it the first time does not do it
   * twice. The last 100 failed ones can be retried.
   * @throws InvalidInputError when there is no such failed mutation; OverloadedError as `mutate`, and it can be retried later.
   */
  retry(id: string): Mutation<unknown> {
    const again = this.#failed.get(id);
    if (again === undefined) throw new InvalidInputError("id", id, "the id of a failed mutation");
    this.#failed.delete(id);
    try {
      return again();
    } catch (error) {
      this.#failed.set(id, again);
      throw error;
    }
  }

  /**
   * Takes note of an event. Returns true when it is the echo of a mutation made here: it confirms, and nothing needs
   * to be fetched for it.
   */
  handleEvent(event: { readonly origin?: { readonly mutation?: string } }): boolean {
    const id = event.origin?.mutation;
    if (id === undefined) return false;
    const tracked = this.#tracked.get(id);
    if (tracked === undefined) return this.#settled.has(id);
    tracked.isEchoed = true;
    // The answer may still bring the server's row; until then ours is shown.
    if (tracked.acknowledgedAt !== undefined) this.#settle(id);
    return true;
  }

  /** Stops timers and leaves the other tabs. What is pending stays shown. */
  [Symbol.dispose](): void {
    this.#isDisposed = true;
    this.#stopTabs?.();
    for (const { timer } of this.#tracked.values()) timer?.cancel();
  }

  #start<Result>(
    id: string,
    name: string,
    args: unknown,
    options: MutateOptions<unknown, Result>,
  ): Mutation<Result> {
    this.#track(id, name, args).isOurs = true;
    this.#tell({ overlay: "apply", mutation: id, name, args });
    const done = this.#send(id, name, args, options);
    return { id, done };
  }

  #track(id: string, name: string, args: unknown): Tracked {
    const limit = this.#limits.pendingMaxCount;
    if (this.#log.pendingCount >= limit) throw new OverloadedError("the optimistic store", limit);
    const changes = this.#changesOf(name, args);
    const tracked: Tracked = {
      id,
      name,
      args,
      acknowledgedAt: undefined,
      isEchoed: false,
      timer: undefined,
      isOurs: false,
    };
    this.#tracked.set(id, tracked);
    this.#log.append(id, changes);
    return tracked;
  }

  async #send<Result>(
    id: string,
    name: string,
    args: unknown,
    options: MutateOptions<unknown, Result>,
  ): Promise<Result> {
    try {
      const result = await this.#deliver({ id, name, args }, options);
      const final = options.reconcile === undefined ? args : options.reconcile(result, args);
      this.#tell({ overlay: "acknowledge", mutation: id, name, args: final });
      this.#acknowledge(id, final);
      return result;
    } catch (error) {
      if (this.#tracked.get(id)?.isEchoed) {
        // The event proves that the server did it; only its answer was lost.
        this.#tell({ overlay: "acknowledge", mutation: id, name, args });
        this.#acknowledge(id, args);
      } else {
        this.#drop(id);
        this.#tell({ overlay: "fail", mutation: id });
        this.#failed.set(id, () => this.#start(id, name, args, options));
        forgetOldest(this.#failed, FAILED_MAX_COUNT);
      }
      throw error;
    }
  }

  #deliver<Result>(mutation: QueuedMutation, options: MutateOptions<unknown, Result>): Promise<Result> {
    const { id, name, args } = mutation;
    const queue = this.#options.offline?.queue;
    const send = (): Promise<Result> => options.send({ mutation: id }, args);
    if (queue === undefined) return send();
    const attempt = (): Promise<Result> => {
      // Other tabs forget what they hear nothing of.
      if (queue.has(id)) this.#tell({ overlay: "apply", mutation: id, name, args });
      return send();
    };
    return this.#restored.delete(id) ? queue.resume(mutation, attempt) : queue.run(mutation, attempt);
  }

  /** Shows and sends what an earlier page left waiting. */
  async #restore(): Promise<void> {
    const { queue, sends = {} } = this.#options.offline ?? {};
    for (const { id, name, args } of (await queue?.stored()) ?? []) {
      const options = sends[name as keyof typeof sends] as MutateOptions<unknown, unknown> | undefined;
      if (options === undefined || this.#tracked.has(id)) continue;
      this.#restored.add(id);
      this.#start(id, name, args, options).done.catch((error: unknown) => this.#options.onError?.(error));
    }
  }

  #acknowledge(id: string, args: unknown): void {
    const tracked = this.#tracked.get(id);
    if (tracked === undefined) return;
    this.#sequence += 1;
    tracked.acknowledgedAt = this.#sequence;
    if (args !== tracked.args) {
      tracked.args = args;
      this.#log.replace(id, this.#changesOf(tracked.name, args));
    }
    if (tracked.isEchoed) {
      this.#settle(id);
      return;
    }
    // What was under way at the end stays shown: nobody refetches any more.
    if (this.#isDisposed) return;
    tracked.timer?.cancel();
    tracked.timer = this.#clock.schedule(this.#limits.settleWithinMs, () => {
      this.#refetchAndSettle(id).catch((error: unknown) => this.#options.onError?.(error));
    });
  }

  async #refetchAndSettle(id: string): Promise<void> {
    const keys = this.#log.openKeys(id);
    try {
      if (keys.length > 0) await this.#options.refetch?.(keys);
    } finally {
      // What was not fetched gets the effect by our own hand: the server has acknowledged it.
      this.#settle(id);
    }
  }

  #settle(id: string): void {
    const tracked = this.#tracked.get(id);
    if (tracked === undefined) return;
    tracked.timer?.cancel();
    this.#tracked.delete(id);
    this.#settled.add(id);
    forgetOldest(this.#settled, SETTLED_MAX_COUNT);
    this.#settling.set(id, tracked.acknowledgedAt ?? 0);
    this.#confirmSettled();
  }

  #acknowledgedUpTo(sequence: number): readonly string[] {
    const ids: string[] = [];
    for (const { id, acknowledgedAt } of this.#tracked.values()) {
      if (acknowledgedAt !== undefined && acknowledgedAt <= sequence) ids.push(id);
    }
    for (const [id, acknowledgedAt] of this.#settling) if (acknowledgedAt <= sequence) ids.push(id);
    return ids;
  }

  /**
   * Lets settled mutations become part of the base, except those that a fetch under way may not have: its answer
   * would show the value from before.
   */
  #confirmSettled(): void {
    const oldest = this.#fetches.oldestBegunAt;
    for (const [id, acknowledgedAt] of this.#settling) {
      if (acknowledgedAt > oldest) continue;
      this.#settling.delete(id);
      this.#log.confirm(id);
    }
  }

  #drop(id: string): void {
    this.#tracked.get(id)?.timer?.cancel();
    this.#tracked.delete(id);
    this.#log.remove(id);
  }

  #changesOf(name: string, args: unknown): readonly Change[] {
    const mutator = Object.hasOwn(this.#options.mutators, name) ? this.#options.mutators[name] : undefined;
    if (mutator === undefined) throw new InvalidInputError("name", name, "the name of a mutator");
    return mutator(args);
  }

  #tell(message: OverlayMessage): void {
    this.#options.tabs?.sendToTabs(message);
  }

  #onTabMessage(message: OverlayMessage | undefined): void {
    if (message === undefined) return;
    const { mutation: id } = message;
    if (message.overlay === "fail") {
      this.#drop(id);
      return;
    }
    try {
      const tracked =
        this.#tracked.get(id) ??
        (this.#settled.has(id) ? undefined : this.#track(id, message.name, message.args));
      if (tracked === undefined) return;
      if (message.overlay === "acknowledge") this.#acknowledge(id, message.args);
      else if (!tracked.isOurs) {
        tracked.timer?.cancel();
        tracked.timer = this.#clock.schedule(this.#limits.tabTtlMs, () => this.#drop(id));
      }
    } catch (error) {
      // Another version of the page may know mutators that we do not.
      this.#options.onError?.(error);
    }
  }
}

const forgetOldest = (collection: Set<string> | Map<string, unknown>, maxCount: number): void => {
  if (collection.size <= maxCount) return;
  for (const oldest of collection.keys()) {
    collection.delete(oldest);
    break;
  }
};
