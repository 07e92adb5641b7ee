import type { ClaimedTask, TaskQueue } from "@holdfast/coordination";
import { type Clock, type Deferred, deferred, type Logger, TaskGroup } from "@holdfast/kernel";
import type { Assignment } from "@holdfast/protocol/contract";
import { assignmentSizes } from "./assignment-size.ts";
import { FairClaims } from "./fair-claims.ts";

export interface ClaimBrokerOptions {
  readonly queue: TaskQueue<unknown>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Named as the claimer where one claim serves several workers. */
  readonly nodeId: string;
  readonly taskLeaseMs: number;
  /** How often waiting workers look by themselves, should a notice of new work be lost. */
  readonly pollMs: number;
  readonly build: (tasks: readonly ClaimedTask[]) => Promise<readonly (Assignment | undefined)[]>;
  /** Workers at which shards failed before, by task id: these go elsewhere where there is a choice. Must not throw. */
  readonly failedAt: (tasks: readonly ClaimedTask[]) => Promise<ReadonlyMap<string, ReadonlySet<string>>>;
  /** An assignment is about to be sent to a worker. */
  readonly onAssigned: (assignment: Assignment, worker: string) => void;
}

export interface ClaimRequest {
  readonly worker: string;
  readonly maxCount: number;
  readonly waitMs: number;
  /** Workflows that the worker offers, sorted. */
  readonly types: readonly string[];
  /** Aborts when the worker is gone. */
  readonly signal: AbortSignal;
}

interface Waiter extends ClaimRequest {
  readonly done: Deferred<readonly Assignment[]>;
  /** Same for workers that offer the same. */
  readonly kind: string;
  readonly assignments: Assignment[];
  sizeBytes: number;
  /** A claim that may bring it something is under way: it is answered after that, whatever the time. */
  isClaiming: boolean;
  isExpired: boolean;
  isDone: boolean;
}

/** Tasks in one claim. */
const CLAIM_MAX_COUNT = 1_000;
/** How often the store is asked when the next shard is due; notices of new work come much more often. */
const DUE_EVERY_MS = 50;
/** An answer is one frame of at most 8 MiB; beyond this the rest goes back to the queue, uncounted. */
const ANSWER_MAX_BYTES = 4 * 1024 * 1024;
/** After the store failed. */
const RETRY_MS = 250;
const NOBODY: ReadonlySet<string> = new Set();

/**
 * Hands out shards to the workers that wait at this manager. One claim serves all that offer the same
 * workflows, by priority and so that none waits for ever (see FairClaims); what it brings is dealt out one by one to
 * whoever has most room left. A shard that failed at a worker
 * goes to another one that waits, whatever else that offers, and back to the same only when there is none.
 *
 * A worker waits until there is something or its time is over. What was claimed for a worker that is gone by
 * then goes back to the queue without counting as an attempt.
 */
export class ClaimBroker implements AsyncDisposable {
  readonly #options: ClaimBrokerOptions;
  readonly #claims: FairClaims;
  readonly #tasks: TaskGroup;
  readonly #waiting = new Set<Waiter>();
  readonly #stopListening: () => void;
  #wake: Deferred<void> = deferred();
  #claimedCount = 0;
  #claimCount = 0;
  #dueAskedAt = Number.NEGATIVE_INFINITY;

  constructor(options: ClaimBrokerOptions) {
    this.#options = options;
    this.#claims = new FairClaims({ ...options, leaseMs: options.taskLeaseMs });
    this.#tasks = new TaskGroup({ logger: options.logger });
    this.#stopListening = options.queue.onAvailable(() => this.wake());
    this.#tasks.spawn("claims", (signal) => this.#run(signal));
  }

  get stats(): { readonly waiting: number; readonly claims: number; readonly claimedTasks: number } {
    return { waiting: this.#waiting.size, claims: this.#claimCount, claimedTasks: this.#claimedCount };
  }

  /** Resolves with up to `maxCount` assignments, with none when `waitMs` passed or the worker is gone. */
  claim(request: ClaimRequest): Promise<readonly Assignment[]> {
    const { clock } = this.#options;
    if (request.signal.aborted || this.#tasks.signal.aborted) return Promise.resolve([]);
    const waiter: Waiter = {
      ...request,
      done: deferred(),
      kind: request.types.join("\n"),
      assignments: [],
      sizeBytes: 0,
      isClaiming: false,
      isExpired: false,
      isDone: false,
    };
    const timer = clock.schedule(request.waitMs, () => {
      waiter.isExpired = true;
      if (!waiter.isClaiming) this.#answer(waiter);
    });
    const onAbort = (): void => this.#answer(waiter);
    request.signal.addEventListener("abort", onAbort, { once: true });
    this.#waiting.add(waiter);
    this.wake();
    return waiter.done.promise.finally(() => {
      timer.cancel();
      request.signal.removeEventListener("abort", onAbort);
    });
  }

  /** Answers what this worker waits for: it takes no more work. What a claim under way brings it still goes there. */
  dismiss(worker: string): void {
    for (const waiter of [...this.#waiting]) {
      if (waiter.worker !== worker) continue;
      waiter.isExpired = true;
      if (!waiter.isClaiming) this.#answer(waiter);
    }
  }

  /** There may be work. */
  wake(): void {
    this.#wake.resolve();
  }

  /** Answers all that wait with nothing and claims no more. Idempotent. */
  async close(): Promise<void> {
    this.#stopListening();
    const stopped = this.#tasks.stop();
    for (const waiter of [...this.#waiting]) this.#answer(waiter);
    await stopped;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { clock, logger } = this.#options;
    while (!signal.aborted) {
      this.#wake = deferred();
      let pauseMs: number | undefined;
      try {
        pauseMs = await this.#round();
      } catch (error) {
        if (signal.aborted) return;
        logger.warn({ err: error }, "claims failed; trying again");
        pauseMs = RETRY_MS;
      }
      await this.#pause(clock, pauseMs, signal);
    }
  }

  /** Claims until the queue is empty or nobody waits. Returns after how long to look again; undefined: when woken. */
  async #round(): Promise<number | undefined> {
    while (this.#waiting.size > 0) {
      let found = false;
      for (const kind of new Set([...this.#waiting].map((waiter) => waiter.kind))) {
        const claimed = await this.#claimFor(kind);
        found ||= claimed > 0;
      }
      if (found) continue;
      if (this.#waiting.size === 0) return undefined;
      return this.#nextLookMs();
    }
    return undefined;
  }

  /** When a delayed shard is due or a lease lapses, at most the poll's pause; asked of the store not too often. */
  async #nextLookMs(): Promise<number> {
    const { clock, queue, pollMs } = this.#options;
    const waitedMs = clock.monotonicNow() - this.#dueAskedAt;
    // At least a millisecond: what is left may be less than the clock can tell apart.
    if (waitedMs < DUE_EVERY_MS) return Math.max(1, DUE_EVERY_MS - waitedMs);
    this.#dueAskedAt = clock.monotonicNow();
    const dueMs = await queue.nextDueInMs();
    return Math.min(pollMs, Math.max(1, dueMs ?? pollMs));
  }

  async #claimFor(kind: string): Promise<number> {
    const waiters = [...this.#waiting].filter((waiter) => waiter.kind === kind);
    for (const waiter of waiters) waiter.isClaiming = true;
    try {
      return await this.#claimForAll(waiters);
    } finally {
      for (const waiter of waiters) {
        waiter.isClaiming = false;
        if (waiter.isExpired) this.#answer(waiter);
      }
    }
  }

  async #claimForAll(waiters: readonly Waiter[]): Promise<number> {
    const first = waiters[0];
    if (first === undefined || first.types.length === 0) return 0;
    const room = waiters.reduce((sum, { maxCount }) => sum + maxCount, 0);
    const tasks = await this.#claims.claim({
      worker: waiters.length === 1 ? first.worker : this.#options.nodeId,
      maxCount: Math.min(room, CLAIM_MAX_COUNT),
      types: first.types,
      kind: first.kind,
    });
    if (tasks.length === 0) return 0;
    this.#claimCount += 1;
    this.#claimedCount += tasks.length;
    let assignments: readonly (Assignment | undefined)[];
    try {
      assignments = await this.#options.build(tasks);
    } catch (error) {
      await this.#giveBack(tasks);
      throw error;
    }
    const isRetried = tasks.some(({ attempt }) => attempt > 1) && this.#waiting.size > 1;
    const failedAt = isRetried ? await this.#options.failedAt(tasks) : new Map<string, ReadonlySet<string>>();
    await this.#deal(tasks, { assignments, waiters, failedAt });
    return tasks.length;
  }

  async #deal(
    tasks: readonly ClaimedTask[],
    round: {
      readonly assignments: readonly (Assignment | undefined)[];
      readonly waiters: readonly Waiter[];
      readonly failedAt: ReadonlyMap<string, ReadonlySet<string>>;
    },
  ): Promise<void> {
    const { assignments, waiters, failedAt } = round;
    const served = new Set<Waiter>();
    const left: ClaimedTask[] = [];
    const orphanGroups = new Set<string>();
    const sizeOf = assignmentSizes();
    tasks.forEach((task, index) => {
      const assignment = assignments[index];
      if (assignment === undefined) {
        if (task.group !== undefined) orphanGroups.add(task.group);
        return;
      }
      const sizeBytes = sizeOf(assignment, task.group);
      const avoided = failedAt.get(task.id) ?? NOBODY;
      const others =
        avoided.size === 0
          ? []
          : [...this.#waiting].filter(
              ({ worker, types }) => !avoided.has(worker) && types.includes(task.type),
            );
      const waiter = roomiest(others, sizeBytes) ?? roomiest(waiters, sizeBytes);
      if (waiter === undefined) {
        left.push(task);
        return;
      }
      waiter.assignments.push(assignment);
      waiter.sizeBytes += sizeBytes;
      served.add(waiter);
    });
    for (const waiter of served) this.#answer(waiter);
    if (left.length > 0) await this.#giveBack(left);
    // Their job has ended or was deleted: nobody waits for them.
    if (orphanGroups.size > 0) await this.#options.queue.cancelGroups([...orphanGroups]);
  }

  #answer(waiter: Waiter): void {
    if (waiter.isDone) return;
    waiter.isDone = true;
    this.#waiting.delete(waiter);
    for (const assignment of waiter.assignments) this.#options.onAssigned(assignment, waiter.worker);
    waiter.done.resolve(waiter.assignments);
  }

  /** Best effort: what cannot be given back now comes back when its lease lapses. */
  async #giveBack(tasks: readonly ClaimedTask[]): Promise<void> {
    const error = { code: "JOBS_NOT_READY", message: "no worker could take the shard", retryable: true };
    const failures = tasks.map(({ id, token }) => ({ id, token, error, uncounted: true, retryDelayMs: 0 }));
    try {
      await this.#options.queue.fail(failures);
    } catch (cause) {
      this.#options.logger.warn(
        { err: cause, tasks: tasks.length },
        "claimed shards could not be given back",
      );
    }
  }

  async #pause(clock: Clock, pauseMs: number | undefined, signal: AbortSignal): Promise<void> {
    const woken = this.#wake.promise;
    const aborted = deferred<void>();
    const onAbort = (): void => aborted.resolve();
    signal.addEventListener("abort", onAbort, { once: true });
    const timer = pauseMs === undefined ? undefined : clock.schedule(pauseMs, () => aborted.resolve());
    try {
      if (!signal.aborted) await Promise.race([woken, aborted.promise]);
    } finally {
      timer?.cancel();
      signal.removeEventListener("abort", onAbort);
    }
  }
}

/** Whoever has most room left; of equals the one that has waited longest. A large assignment may go alone. */
const roomiest = (waiters: readonly Waiter[], sizeBytes: number): Waiter | undefined => {
  let best: Waiter | undefined;
  let bestRoom = 0;
  for (const waiter of waiters) {
    if (waiter.isDone) continue;
    if (waiter.assignments.length > 0 && waiter.sizeBytes + sizeBytes > ANSWER_MAX_BYTES) continue;
    const room = waiter.maxCount - waiter.assignments.length;
    if (room > bestRoom) {
      best = waiter;
      bestRoom = room;
    }
  }
  return best;
};
