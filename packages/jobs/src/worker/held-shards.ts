import {
  type Abortable,
  type Clock,
  type Deferred,
  deferred,
  type HoldfastError,
  untilAborted,
} from "@holdfast/kernel";
import type { Assignment } from "@holdfast/protocol/contract";
import { ClaimLostError, ShardGivenBackError } from "../errors.ts";
import { ClaimPace } from "./claim-pace.ts";
import { endedExecution } from "./ended-execution.ts";
import type { Execution, Executor, ShardOutcome, ShardUpdate } from "./executor.ts";
import { attemptName, failureOf } from "./shard-failure.ts";

/** One claim of this worker, from the answer that gave it until its outcome is settled. */
export interface HeldShard {
  readonly assignment: Assignment;
  /** `queued`: waits for a core. `reporting`: ended, its outcome is on its way. */
  state: "queued" | "running" | "reporting";
  execution: Execution | undefined;
  /** When the claim ends unless renewed, monotonic, counted from when we asked. */
  leaseEndsAt: number;
  /** When it was taken in, monotonic. */
  readonly takenAt: number;
  /** An update of it waits to be sent; no other is collected meanwhile. */
  isUpdatePending: boolean;
}

export interface HeldShardsOptions {
  readonly nodeId: string;
  readonly cores: number;
  readonly executor: Executor;
  readonly clock: Clock;
  readonly onTaken: (held: HeldShard) => void;
  readonly onUpdate: (held: HeldShard, update: ShardUpdate) => void;
  /** The attempt ended; the claim is held until `forget`. */
  readonly onOutcome: (held: HeldShard, outcome: ShardOutcome) => void;
  readonly onForgotten: (held: HeldShard) => void;
  /** False stops new reservations: too many outcomes wait, or the worker drains. */
  readonly mayClaim: () => boolean;
}

/**
 * A shard claimed ahead that has not started by then may be better off with another worker: when the shards have
 * become longer, or nothing has ended for so long. While short ones still follow each other its turn comes soon.
 */
const QUEUED_MAX_MS = 500;

/**
 * The claims of this worker and its cores. A core is counted once, in one synchronous step: reserved for a
 * claim that was asked for, taken by a running attempt, or free. A claimed shard starts as soon as a core is
 * free, in the order of the claims.
 */
export class HeldShards {
  readonly #options: HeldShardsOptions;
  readonly #pace = new ClaimPace();
  readonly #byTask = new Map<string, HeldShard>();
  #queue: HeldShard[] = [];
  #reservedCount = 0;
  #isPaused = false;
  #runningCount = 0;
  #completedCount = 0;
  #failedCount = 0;
  #lastEndAt = Number.NEGATIVE_INFINITY;
  #busy: Deferred<void> = deferred();
  #slotsChanged: Deferred<void> = deferred();

  constructor(options: HeldShardsOptions) {
    this.#options = options;
  }

  get all(): Iterable<HeldShard> {
    return this.#byTask.values();
  }

  get size(): number {
    return this.#byTask.size;
  }

  get runningCount(): number {
    return this.#runningCount;
  }

  /** Cores kept for claims that are under way. */
  get reservedCount(): number {
    return this.#reservedCount;
  }

  get queuedCount(): number {
    return this.#queue.length;
  }

  /** Ended, and their outcomes are not settled yet. Counted when asked. */
  get reportingCount(): number {
    let count = 0;
    for (const { state } of this.#byTask.values()) if (state === "reporting") count += 1;
    return count;
  }

  get completedCount(): number {
    return this.#completedCount;
  }

  get failedCount(): number {
    return this.#failedCount;
  }

  /** Waits for room and reserves all of it, at least 1. Give it back with `take` or `unreserve`. @throws signal.reason */
  async reserve({ signal }: Abortable): Promise<number> {
    for (;;) {
      signal?.throwIfAborted();
      const count = this.#options.mayClaim() ? this.#freeCount() : 0;
      if (count > 0) {
        this.#reservedCount += count;
        return count;
      }
      await untilAborted(this.#slotsChanged.promise, signal);
    }
  }

  /** Resolves while at least one claim is held; at once when that is so now. @throws signal.reason */
  async whenBusy({ signal }: Abortable): Promise<void> {
    while (this.#byTask.size === 0) await untilAborted(this.#busy.promise, signal);
  }

  unreserve(count: number): void {
    this.#reservedCount -= count;
    this.wake();
  }

  /** Takes claims in and starts what a core is free for. */
  take(assignments: readonly Assignment[], lease: { readonly leaseEndsAt: number }): void {
    const takenAt = this.#options.clock.monotonicNow();
    for (const assignment of assignments) {
      const older = this.#byTask.get(assignment.taskId);
      if (older !== undefined) {
        // The same answer twice, or a newer claim of a shard that we lost without noticing.
        if (BigInt(older.assignment.token) >= BigInt(assignment.token)) continue;
        this.stop(
          older,
          new ClaimLostError(attemptName(older.assignment), "a newer claim came to this worker"),
        );
        this.forget(older);
      }
      const held: HeldShard = {
        assignment,
        state: "queued",
        execution: undefined,
        leaseEndsAt: lease.leaseEndsAt,
        takenAt,
        isUpdatePending: false,
      };
      this.#byTask.set(assignment.taskId, held);
      this.#queue.push(held);
      this.#options.onTaken(held);
    }
    const { resolve } = this.#busy;
    this.#busy = deferred();
    resolve();
    this.#startQueued();
  }

  find(taskId: string, token?: string): HeldShard | undefined {
    const held = this.#byTask.get(taskId);
    return token === undefined || held?.assignment.token === token ? held : undefined;
  }

  /** Stops the attempt; one that has not started ends at once. */
  stop(held: HeldShard, reason: HoldfastError): void {
    if (held.state === "running") held.execution?.stop(reason);
    else if (held.state === "queued") this.#giveBack(held, reason);
  }

  /** Gives back all that waits for a core. */
  giveBackQueued(reason: HoldfastError): void {
    for (const held of [...this.#queue]) this.#giveBack(held, reason);
  }

  /** Gives back what was claimed ahead and has waited too long behind longer shards. */
  giveBackOverdue(): void {
    const { clock, cores, nodeId } = this.#options;
    const now = clock.monotonicNow();
    const isStuck = now - this.#lastEndAt > QUEUED_MAX_MS;
    if (!isStuck && this.#pace.aheadCount(cores) > 0) return;
    for (const held of [...this.#queue]) {
      const waitedMs = now - held.takenAt;
      if (waitedMs <= QUEUED_MAX_MS) continue;
      this.#giveBack(held, new ShardGivenBackError(attemptName(held.assignment), nodeId, waitedMs));
    }
  }

  /** The claim is settled: accepted, stale, or lost. */
  forget(held: HeldShard): void {
    if (this.#byTask.get(held.assignment.taskId) !== held) return;
    this.#byTask.delete(held.assignment.taskId);
    this.#options.onForgotten(held);
    this.wake();
  }

  /** Starts nothing more; what is queued or comes in stays queued, for `giveBackQueued`. */
  pause(): void {
    this.#isPaused = true;
  }

  /** Lets those that wait for room look again. */
  wake(): void {
    const { resolve } = this.#slotsChanged;
    this.#slotsChanged = deferred();
    resolve();
  }

  #freeCount(): number {
    const { cores } = this.#options;
    const takenCount = this.#runningCount + this.#queue.length + this.#reservedCount;
    return Math.max(0, cores + this.#pace.aheadCount(cores) - takenCount);
  }

  #startQueued(): void {
    while (!this.#isPaused && this.#runningCount < this.#options.cores) {
      const held = this.#queue.shift();
      if (held === undefined) return;
      this.#start(held);
    }
  }

  #start(held: HeldShard): void {
    const { clock } = this.#options;
    held.state = "running";
    this.#runningCount += 1;
    const startedAt = clock.monotonicNow();
    const execution = this.#execute(held);
    held.execution = execution;
    void execution.outcome.then((outcome) => {
      this.#runningCount -= 1;
      this.#lastEndAt = clock.monotonicNow();
      this.#pace.observe(outcome.kind, clock.monotonicNow() - startedAt);
      this.#startQueued();
      this.#end(held, outcome);
    });
  }

  /** An attempt that cannot even begin has failed: no core is kept for it, and somebody hears of it. */
  #execute(held: HeldShard): Execution {
    const { executor, onUpdate } = this.#options;
    try {
      return executor.execute(held.assignment, { onUpdate: (update) => onUpdate(held, update) });
    } catch (error) {
      return endedExecution(error);
    }
  }

  #giveBack(held: HeldShard, reason: HoldfastError): void {
    this.#queue = this.#queue.filter((queued) => queued !== held);
    this.#end(held, { kind: "failed", ...failureOf(reason), lastUpdate: undefined });
  }

  #end(held: HeldShard, outcome: ShardOutcome): void {
    held.state = "reporting";
    held.execution = undefined;
    if (outcome.kind === "completed") this.#completedCount += 1;
    else if (!outcome.uncounted) this.#failedCount += 1;
    // A newer claim of the same shard may have taken its place.
    if (this.#byTask.get(held.assignment.taskId) === held) this.#options.onOutcome(held, outcome);
    this.wake();
  }
}
