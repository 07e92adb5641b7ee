import {
  type Clock,
  type Deferred,
  deferred,
  isHoldfastError,
  OverloadedError,
  systemClock,
  type Timer,
} from "@holdfast/kernel";
import { checkCount, checkMs } from "../../model/option-checks.ts";
import { isObject } from "../../model/parse.ts";
import { defaultPlatform } from "../platform.ts";

/** A mutation as it is kept while it cannot be sent. */
export interface QueuedMutation {
  readonly id: string;
  readonly name: string;
  readonly args: unknown;
}

/** Where waiting mutations survive a reload. */
export interface QueueStorage {
  /** In the order in which they were put. */
  load(): readonly QueuedMutation[] | Promise<readonly QueuedMutation[]>;
  put(mutation: QueuedMutation): void | Promise<void>;
  remove(id: string): void | Promise<void>;
}

export interface OfflineQueueOptions {
  /** Default: none; what waits is lost with the page. */
  readonly storage?: QueueStorage;
  /**
   * Whether a failure means that the server was not reached. Default: what `fetch` throws, and retryable errors. Where
   * it throws, that goes to `onError`, and the mutation fails: one that waits holds back all after it.
   */
  readonly isOffline?: (error: unknown) => boolean;
  /** Mutations that may wait, from 1; more are refused with OverloadedError. Default 1_000. */
  readonly maxCount?: number;
  /** Wait before the first try again, milliseconds from 1; doubles to 20_000. Default 1_000. */
  readonly retryMs?: number;
  /** Told when the storage fails: the mutation still waits, but would not survive a reload. And when a listener throws. */
  readonly onError?: (error: unknown) => void;
  /** Calls back when it is worth trying now. Default: the network came back, or the page became visible. */
  readonly onWake?: (callback: () => void) => () => void;
  readonly clock?: Clock;
}

interface Waiting {
  readonly order: number;
  readonly mutation: QueuedMutation;
  readonly attempt: () => Promise<unknown>;
  readonly done: Deferred<unknown>;
  /** Resolves when the storage has it, or has failed to take it. */
  readonly stored: Promise<void>;
}

const RETRY_MAX_MS = 20_000;

/**
 * Keeps mutations that could not reach the server, and sends them in the order in which they were made when it can
 * be reached again. Delivery is at least once, always under the mutation's own id: the server must take that for an
 * idempotency key. Whatever waits holds back what comes after it.
 */
export class OfflineQueue implements Disposable {
  readonly #options: OfflineQueueOptions;
  readonly #clock: Clock;
  readonly #maxCount: number;
  readonly #retryFirstMs: number;
  readonly #stopWaking: () => void;
  readonly #listeners = new Set<() => void>();
  #line: Waiting[] = [];
  #order = 0;
  #isSending = false;
  #isDisposed = false;
  #retryMs: number;
  #timer: Timer | undefined;

  /** @throws InvalidInputError naming the option that is out of range. */
  constructor(options: OfflineQueueOptions = {}) {
    this.#options = options;
    this.#maxCount = checkCount("offlineQueue.maxCount", options.maxCount ?? 1_000, 1);
    this.#retryFirstMs = checkMs("offlineQueue.retryMs", options.retryMs ?? 1_000, 1);
    this.#clock = options.clock ?? systemClock;
    this.#retryMs = this.#retryFirstMs;
    this.#stopWaking = (options.onWake ?? defaultPlatform.onWake)(() => this.wake());
  }

  /** Mutations that wait to be sent. */
  get waitingCount(): number {
    return this.#line.length;
  }

  has(id: string): boolean {
    return this.#line.some(({ mutation }) => mutation.id === id);
  }

  /** Calls back when `waitingCount` changed. Returns the function that stops it. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Sends now if nothing waits; when the server is not reached, later and as often as it takes.
   * @throws OverloadedError when `maxCount` wait; what `attempt` throws when the server was reached.
   */
  async run<T>(mutation: QueuedMutation, attempt: () => Promise<T>): Promise<T> {
    this.#order += 1;
    const order = this.#order;
    if (this.#line.length === 0) {
      try {
        return await attempt();
      } catch (error) {
        if (!this.#isOffline(error)) throw error;
      }
    }
    if (this.#line.length >= this.#maxCount) throw new OverloadedError("the offline queue", this.#maxCount);
    // In line before it is stored: what is made meanwhile comes after it.
    const stored = this.#keep(() => this.#options.storage?.put(mutation));
    return this.#enqueue({ order, mutation, attempt, done: deferred(), stored }) as Promise<T>;
  }

  /** What an earlier page left waiting. */
  async stored(): Promise<readonly QueuedMutation[]> {
    let found: readonly QueuedMutation[] = [];
    await this.#keep(async () => {
      found = (await this.#options.storage?.load()) ?? [];
    });
    return found.filter(({ id }) => !this.has(id));
  }

  /** Takes its place in the line for a mutation out of `stored`. */
  resume<T>(mutation: QueuedMutation, attempt: () => Promise<T>): Promise<T> {
    this.#order += 1;
    const stored = Promise.resolve();
    const waiting = { order: this.#order, mutation, attempt, done: deferred<unknown>(), stored };
    return this.#enqueue(waiting, 0) as Promise<T>;
  }

  /** Tries now. */
  wake(): void {
    this.#retryMs = this.#retryFirstMs;
    this.#schedule(0);
  }

  /** Stops trying. What waits stays in the storage. */
  [Symbol.dispose](): void {
    this.#isDisposed = true;
    this.#stopWaking();
    this.#timer?.cancel();
    this.#line = [];
  }

  #enqueue(waiting: Waiting, waitMs = this.#retryMs): Promise<unknown> {
    // Two that were under way may fail in any order; they wait in the order in which they were made.
    const at = this.#line.findIndex(({ order }) => order > waiting.order);
    this.#line.splice(at < 0 ? this.#line.length : at, 0, waiting);
    this.#changed();
    if (this.#timer === undefined) this.#schedule(waitMs);
    return waiting.done.promise;
  }

  #schedule(waitMs: number): void {
    this.#timer?.cancel();
    // What was under way may have failed after that.
    if (this.#isDisposed) return;
    this.#timer = this.#clock.schedule(waitMs, () => {
      this.#timer = undefined;
      // Never rejects: each failure belongs to its mutation.
      void this.#send();
    });
  }

  async #send(): Promise<void> {
    if (this.#isSending) return;
    this.#isSending = true;
    for (;;) {
      const [head] = this.#line;
      if (head === undefined) break;
      try {
        head.done.resolve(await head.attempt());
      } catch (error) {
        if (this.#isOffline(error)) {
          if (this.#line.includes(head)) this.#schedule(this.#retryMs);
          this.#retryMs = Math.min(RETRY_MAX_MS, this.#retryMs * 2);
          break;
        }
        head.done.reject(error);
      }
      this.#line = this.#line.filter((each) => each !== head);
      this.#changed();
      await head.stored;
      await this.#keep(() => this.#options.storage?.remove(head.mutation.id));
    }
    this.#isSending = false;
  }

  #isOffline(error: unknown): boolean {
    const { isOffline } = this.#options;
    if (isOffline === undefined)
      return error instanceof TypeError || (isHoldfastError(error) && error.retryable);
    try {
      return isOffline(error);
    } catch (failure) {
      this.#report(failure);
      return false;
    }
  }

  async #keep(action: () => void | Promise<void> | undefined): Promise<void> {
    try {
      await action();
    } catch (error) {
      this.#report(error);
    }
  }

  #changed(): void {
    for (const listener of [...this.#listeners]) {
      try {
        listener();
      } catch (error) {
        this.#report(error);
      }
    }
  }

  #report(error: unknown): void {
    try {
      this.#options.onError?.(error);
    } catch {
      // Who is told of failures must not stop what waits.
    }
  }
}

/**
 * Keeps waiting mutations in a Web Storage, one entry each, so that tabs do not overwrite each other's. The names
 * keep users and applications of one origin apart. Arguments must be plain JSON.
 */
export const webQueueStorage = (
  storage: Pick<Storage, "getItem" | "setItem" | "removeItem" | "key" | "length">,
  names: { readonly application?: string; readonly user?: string } = {},
): QueueStorage => {
  const prefix = ["holdfast-live-queue", names.application ?? "default", names.user ?? "anonymous", ""]
    .map(encodeURIComponent)
    .join("/");
  const entries = (): readonly StoredMutation[] =>
    Array.from({ length: storage.length }, (_, index) => storage.key(index))
      .filter((key) => key?.startsWith(prefix))
      .map((key) => parseStored(storage.getItem(key as string)))
      .filter((entry) => entry !== undefined)
      .sort((a, b) => a.order - b.order);
  return {
    load: () => entries().map(({ id, name, args }) => ({ id, name, args })),
    put: (mutation) => {
      const order = (entries().at(-1)?.order ?? 0) + 1;
      storage.setItem(prefix + mutation.id, JSON.stringify({ ...mutation, order }));
    },
    remove: (id) => storage.removeItem(prefix + id),
  };
};

type StoredMutation = QueuedMutation & { readonly order: number };

/** Undefined for what another version of the page, or another tab, has left half: it must not cost the rest. */
const parseStored = (text: string | null): StoredMutation | undefined => {
  try {
    const value: unknown = JSON.parse(text ?? "null");
    const isOne =
      isObject(value) &&
      typeof value["id"] === "string" &&
      typeof value["name"] === "string" &&
      typeof value["order"] === "number";
    return isOne ? (value as unknown as StoredMutation) : undefined;
  } catch {
    return undefined;
  }
};
