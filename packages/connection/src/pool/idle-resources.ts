import type { Timer } from "@holdfast/kernel";
import type { PoolEntry } from "./pool-entry.ts";
import type { PoolSettings } from "./pool-options.ts";

/**
 * The resources that nobody uses, oldest first, and one timer for the moment when the first of them must be looked
 * at: it was idle for too long, lived for too long, or should be validated.
 */
export class IdleResources<T> {
  readonly #settings: PoolSettings<T>;
  readonly #onDue: () => void;
  /** The one that was used last stands at the end. */
  #entries: PoolEntry<T>[] = [];
  #timer: Timer | undefined;
  #timerAt = Number.POSITIVE_INFINITY;

  constructor(settings: PoolSettings<T>, onDue: () => void) {
    this.#settings = settings;
    this.#onDue = onDue;
  }

  get size(): number {
    return this.#entries.length;
  }

  /** Becomes idle now. */
  push(entry: PoolEntry<T>, now: number): void {
    entry.idleSince = now;
    this.#entries.push(entry);
    this.#planFor(entry);
  }

  /** Goes on being idle, as old as it was: after it was looked at. */
  putBack(entry: PoolEntry<T>): void {
    const younger = this.#entries.findIndex(({ idleSince }) => idleSince > entry.idleSince);
    this.#entries.splice(younger < 0 ? this.#entries.length : younger, 0, entry);
    this.#planFor(entry);
  }

  /** The one that was used last. */
  pop(): PoolEntry<T> | undefined {
    return this.#entries.pop();
  }

  /** The one that has been idle for longest. */
  shift(): PoolEntry<T> | undefined {
    return this.#entries.shift();
  }

  remove(entry: PoolEntry<T>): void {
    const index = this.#entries.indexOf(entry);
    if (index >= 0) this.#entries.splice(index, 1);
  }

  takeAll(): readonly PoolEntry<T>[] {
    const entries = this.#entries;
    this.#entries = [];
    return entries;
  }

  /** When this one must be looked at next. */
  dueAt({ checkedAt, expiresAt, idleSince }: PoolEntry<T>): number {
    const { checkEveryMs, idleTimeoutMs, validate } = this.#settings;
    const endsAt = Math.min(expiresAt, idleSince + idleTimeoutMs);
    return validate === undefined ? endsAt : Math.min(endsAt, Math.max(checkedAt, idleSince) + checkEveryMs);
  }

  /** Whether one that was taken out must be validated before it is lent. */
  needsCheck({ checkedAt, idleSince }: PoolEntry<T>, now: number): boolean {
    const { validate, validateAfterMs } = this.#settings;
    return validate !== undefined && now - Math.max(checkedAt, idleSince) > validateAfterMs;
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#timerAt = Number.POSITIVE_INFINITY;
  }

  /** Younger ones are due later, so on the usual way this is one comparison. */
  #planFor(entry: PoolEntry<T>): void {
    const dueAt = this.dueAt(entry);
    if (dueAt >= this.#timerAt) return;
    const { clock } = this.#settings;
    this.#timer?.cancel();
    this.#timerAt = dueAt;
    const onTimer = (): void => {
      this.stop();
      this.#onDue();
    };
    this.#timer = clock.schedule(dueAt - clock.monotonicNow(), onTimer, { unref: true });
  }
}
