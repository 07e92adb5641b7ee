import {
  type Abortable,
  type Clock,
  type Deferred,
  deferred,
  type Logger,
  TaskGroup,
  untilAborted,
  withTimeout,
} from "@holdfast/kernel";

/** What became of one renewal: it holds, or it is lost for the reason given. */
export type RenewalResult = "renewed" | { readonly lost: Error };

export interface RenewalKeeperOptions<Ref> {
  /** Names the keeper in its log lines. */
  readonly name: string;
  readonly ttlMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Renews all of `refs` in one call, with one result per ref, in order. */
  readonly renew: (refs: readonly Ref[], signal: AbortSignal) => Promise<readonly RenewalResult[]>;
  /** The loss to report when no renewal was confirmed in time; `cause` is the last failure, if there was one. */
  readonly unconfirmed: (ref: Ref, cause: unknown) => Error;
}

/** Something kept alive by renewals. */
export interface Kept {
  /** Aborts with the reason when the lease is lost, or could not be confirmed shortly before its end. */
  readonly signal: AbortSignal;
  /** Whether its signal has aborted. */
  readonly isLost: boolean;
  /** Whether it is surely held now: by the local clock, counted from when it was asked for. */
  readonly isHeld: boolean;
  /** How long the store surely keeps it yet. */
  readonly remainingMs: number;
  /**
   * Runs `body`, which renews it by other means, once no renewal of it is under way, and lets none begin meanwhile:
   * of two calls that overlap nobody knows which the store takes last.
   */
  alone<T>(body: () => Promise<T>, options?: Abortable): Promise<T>;
  /** Renewed by other means, for `ttlMs` from `askedAt`. False when it was lost or dropped before. */
  confirm(renewal: { readonly askedAt: number; readonly ttlMs: number }): boolean;
  /** Known to be lost: its signal aborts. */
  lose(reason: Error): void;
  /** Renews it no more; its signal will not abort. Idempotent. */
  drop(): void;
}

/** Renewals begin at this share of the TTL, so that two of them may fail before the lease is in danger. */
const RENEW_AT = 1 / 3;
/** Whatever is older than this is renewed along with the one that is due, which saves round trips. */
const RENEW_ALONG = 1 / 6;
/** A renewal without an answer is repeated beside it after this share of the TTL: the way to the store may hang for long. */
const REPEAT_AFTER = 1 / 4;
/** Pause after a failed renewal. */
const RETRY_AFTER = 1 / 10;
/** At this share of the TTL we stop work: the last tenth is for stopping, and for clocks that differ in rate. */
export const GIVE_UP_AT = 0.9;

class Item<Ref> implements Kept {
  readonly ref: Ref;
  readonly #keeper: RenewalKeeper<Ref>;
  readonly #onLost: (() => void) | undefined;
  #controller: AbortController | undefined;
  #lostFor: Error | undefined;
  /** When the newest confirmed grant or renewal was asked for, by the monotonic clock. */
  confirmedAt: number;
  /** For how long that was. */
  termMs: number;
  /** Not asked for again before: a renewal is under way. */
  askAgainAt = Number.NEGATIVE_INFINITY;
  /** Others that renew it now by themselves; see `alone`. */
  aloneCount = 0;

  constructor(
    ref: Ref,
    term: { readonly confirmedAt: number; readonly termMs: number },
    keeper: RenewalKeeper<Ref>,
    onLost: (() => void) | undefined,
  ) {
    this.ref = ref;
    this.confirmedAt = term.confirmedAt;
    this.termMs = term.termMs;
    this.#onLost = onLost;
    this.#keeper = keeper;
  }

  /** Made only for those who look at it: a lock that is held for a moment needs none. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#lostFor !== undefined) this.#controller.abort(this.#lostFor);
    }
    return this.#controller.signal;
  }

  get isLost(): boolean {
    return this.#lostFor !== undefined;
  }

  get isHeld(): boolean {
    return !this.isLost && this.#keeper.isSafe(this);
  }

  get remainingMs(): number {
    return this.#keeper.remainingMs(this);
  }

  alone<T>(body: () => Promise<T>, options: Abortable = {}): Promise<T> {
    return this.#keeper.alone(this, body, options);
  }

  confirm(renewal: { readonly askedAt: number; readonly ttlMs: number }): boolean {
    return this.#keeper.confirm(this, renewal);
  }

  drop(): void {
    this.#keeper.drop(this);
  }

  lose(reason: Error): void {
    this.#keeper.drop(this);
    if (this.#lostFor !== undefined) return;
    this.#lostFor = reason;
    this.#controller?.abort(reason);
    this.#onLost?.();
  }
}

/** When this share of an item's term is over. */
const dueAt = (item: Pick<Item<unknown>, "confirmedAt" | "termMs">, share: number): number =>
  item.confirmedAt + item.termMs * share;

const confirmFor = (
  item: Pick<Item<unknown>, "confirmedAt" | "termMs">,
  askedAt: number,
  ttlMs: number,
): void => {
  // An extension counts from later than now, and is not shortened.
  if (askedAt < item.confirmedAt) return;
  item.confirmedAt = askedAt;
  item.termMs = ttlMs;
};

/**
 * Keeps many leases of one TTL alive with as few calls as possible.
 *
 * Time counts from when a grant or renewal was asked for, never from its answer, so a slow answer cannot make
 * a lease look longer than the store sees it. A renewal that hangs or fails is repeated, and holds up no other; what
 * is not confirmed at nine tenths of its TTL is given up. The loop runs only while something is kept.
 */
export class RenewalKeeper<Ref> implements AsyncDisposable {
  readonly #options: RenewalKeeperOptions<Ref>;
  readonly #items = new Set<Item<Ref>>();
  readonly #loops: TaskGroup;
  readonly #underWay = new Set<{ readonly items: ReadonlySet<Item<Ref>>; readonly ended: Promise<void> }>();
  #isRunning = false;
  #notBefore = Number.NEGATIVE_INFINITY;
  #lastFailure: unknown;
  #poke: Deferred<void> | undefined;
  /** When the loop wakes by itself. */
  #wakeAt = Number.NEGATIVE_INFINITY;

  constructor(options: RenewalKeeperOptions<Ref>) {
    this.#options = options;
    this.#loops = new TaskGroup({ logger: options.logger });
  }

  get count(): number {
    return this.#items.size;
  }

  /**
   * Keeps `ref` alive. `askedAt` is `clock.monotonicNow()` from before the grant was sent, or when it was made;
   * `termMs` is given where the first term is shorter than the TTL; `onLost` is called once when its signal aborts,
   * or would.
   */
  keep(
    ref: Ref,
    options: { readonly askedAt: number; readonly termMs?: number; readonly onLost?: () => void },
  ): Kept {
    const term = { confirmedAt: options.askedAt, termMs: options.termMs ?? this.#options.ttlMs };
    const item = new Item(ref, term, this, options.onLost);
    this.#items.add(item);
    if (!this.#isRunning) {
      this.#isRunning = true;
      this.#loops.spawn(`renewal of ${this.#options.name}`, (signal) => this.#run(signal));
    } else if (dueAt(item, RENEW_AT) < this.#wakeAt) {
      this.#poke?.resolve();
    }
    return item;
  }

  /** Stops renewing. What was kept lapses in the store; its signals do not abort. */
  async close(): Promise<void> {
    this.#items.clear();
    await this.#loops.stop();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  isSafe(item: Item<Ref>): boolean {
    return this.#options.clock.monotonicNow() < dueAt(item, GIVE_UP_AT);
  }

  drop(item: Item<Ref>): void {
    // The loop finds out when it wakes: a lock that is taken and freed again and again sets no timer each time.
    this.#items.delete(item);
  }

  remainingMs(item: Item<Ref>): number {
    return Math.max(0, dueAt(item, 1) - this.#options.clock.monotonicNow());
  }

  /**
   * A longer time counts as a later confirmation: renewal is due when the usual time is left. A shorter one is a shorter
   * term.
   */
  confirm(item: Item<Ref>, renewal: { readonly askedAt: number; readonly ttlMs: number }): boolean {
    if (!this.#items.has(item)) return false;
    item.termMs = Math.min(renewal.ttlMs, this.#options.ttlMs);
    item.confirmedAt = renewal.askedAt + renewal.ttlMs - item.termMs;
    this.#poke?.resolve();
    return true;
  }

  async alone<T>(item: Item<Ref>, body: () => Promise<T>, { signal }: Abortable): Promise<T> {
    item.aloneCount += 1;
    try {
      const renewals = [...this.#underWay].filter(({ items }) => items.has(item));
      await untilAborted(Promise.all(renewals.map(({ ended }) => ended)), signal);
      return await body();
    } finally {
      item.aloneCount -= 1;
      this.#poke?.resolve();
    }
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    try {
      for (;;) {
        this.#giveUpUnconfirmed();
        if (this.#items.size === 0) {
          await this.#sleep(undefined, signal);
          continue;
        }
        const renewAt = Math.max(this.#nextRenewal(), this.#notBefore);
        const wakeAt = Math.min(renewAt, this.#nextGivingUp());
        const now = clock.monotonicNow();
        if (wakeAt > now) await this.#sleep(wakeAt - now, signal);
        else if (renewAt <= now) this.#beginRenewal();
      }
    } finally {
      this.#isRunning = false;
    }
  }

  /** Does not wait for it: what is not part of it has its own ends. */
  #beginRenewal(): void {
    const now = this.#options.clock.monotonicNow();
    const due = [...this.#items].filter(
      (item) => item.aloneCount === 0 && item.askAgainAt <= now && dueAt(item, RENEW_ALONG) <= now,
    );
    for (const item of due) item.askAgainAt = now + item.termMs * REPEAT_AFTER;
    const ended = deferred<void>();
    const renewal = { items: new Set(due), ended: ended.promise };
    this.#underWay.add(renewal);
    this.#loops.spawn(`renewal of ${this.#options.name}`, async (signal) => {
      try {
        await this.#renew(due, now, signal);
      } finally {
        this.#underWay.delete(renewal);
        ended.resolve();
        this.#poke?.resolve();
      }
    });
  }

  async #renew(due: readonly Item<Ref>[], askedAt: number, signal: AbortSignal): Promise<void> {
    const { clock, ttlMs, name, logger, renew } = this.#options;
    const askAgainAt = due.map((item) => item.askAgainAt);
    const earliestEnd = Math.min(...due.map((item) => dueAt(item, GIVE_UP_AT)));
    try {
      const timeoutMs = Math.max(1, earliestEnd - askedAt);
      const results = await withTimeout(
        clock,
        { operation: `renewal of ${name}`, timeoutMs, signal },
        (inner) =>
          renew(
            due.map(({ ref }) => ref),
            inner,
          ),
      );
      this.#lastFailure = undefined;
      due.forEach((item, index) => {
        const result = results[index];
        if (!this.#items.has(item) || result === undefined) return;
        if (result !== "renewed") {
          this.#lose(item, result.lost);
          return;
        }
        confirmFor(item, askedAt, ttlMs);
        item.askAgainAt = Number.NEGATIVE_INFINITY;
      });
    } catch (err) {
      if (signal.aborted) throw err;
      this.#lastFailure = err;
      this.#notBefore = clock.monotonicNow() + Math.min(...due.map((item) => item.termMs)) * RETRY_AFTER;
      due.forEach((item, index) => {
        if (item.askAgainAt === askAgainAt[index]) item.askAgainAt = Number.NEGATIVE_INFINITY;
      });
      logger.warn({ err, keeper: name, count: due.length }, "could not renew; trying again");
    }
  }

  #giveUpUnconfirmed(): void {
    for (const item of this.#items) {
      if (!this.isSafe(item)) this.#lose(item, this.#options.unconfirmed(item.ref, this.#lastFailure));
    }
  }

  #lose(item: Item<Ref>, reason: Error): void {
    item.lose(reason);
  }

  #nextRenewal(): number {
    let next = Number.POSITIVE_INFINITY;
    for (const item of this.#items) {
      if (item.aloneCount === 0) next = Math.min(next, Math.max(dueAt(item, RENEW_AT), item.askAgainAt));
    }
    return next;
  }

  #nextGivingUp(): number {
    let next = Number.POSITIVE_INFINITY;
    for (const item of this.#items) next = Math.min(next, dueAt(item, GIVE_UP_AT));
    return next;
  }

  /** Sleeps so long, or for ever, or until something is kept that is due before. Holds no process open. */
  async #sleep(ms: number | undefined, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { clock } = this.#options;
    const poke = deferred<void>();
    this.#poke = poke;
    this.#wakeAt = ms === undefined ? Number.POSITIVE_INFINITY : clock.monotonicNow() + ms;
    const timer = ms === undefined ? undefined : clock.schedule(ms, () => poke.resolve(), { unref: true });
    const onAbort = (): void => poke.reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      await poke.promise;
    } finally {
      this.#poke = undefined;
      this.#wakeAt = Number.NEGATIVE_INFINITY;
      timer?.cancel();
      signal.removeEventListener("abort", onAbort);
    }
  }
}
