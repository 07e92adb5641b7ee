import {
  type Clock,
  checkPlainJson,
  childController,
  type Logger,
  TimeoutError,
  type Timer,
} from "@holdfast/kernel";
import { ClaimLostError, TaskCancelledError } from "../errors.ts";
import type { Json } from "../json.ts";
import { RenewalKeeper } from "../lease/renewal-keeper.ts";
import type { ClaimedTask, TaskQueue } from "./task-queue.ts";

/** A task that a worker holds. Nothing is made for it before it is asked for: most tasks are over too soon to need it. */
export class HeldTask {
  readonly task: ClaimedTask;
  readonly #batch: ClaimBatch;
  readonly #onProgress: (held: HeldTask, progress: Json) => void;
  #controller: AbortController | undefined;
  #timer: Timer | undefined;
  #stopReason: unknown;
  #isStopped = false;
  /** Called once when the task must stop, unless it has ended. */
  onStop: ((reason: unknown) => void) | undefined;

  constructor(task: ClaimedTask, batch: ClaimBatch, onProgress: (held: HeldTask, progress: Json) => void) {
    this.task = task;
    this.#batch = batch;
    this.#onProgress = onProgress;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#isStopped) this.#controller.abort(this.#stopReason);
    }
    return this.#controller.signal;
  }

  get isStopped(): boolean {
    return this.#isStopped;
  }

  /** Whether the claim is surely held now: by the local clock, counted from when it was asked for. */
  get isHeld(): boolean {
    return this.#batch.holds(this);
  }

  /** See TaskContext. */
  get report(): (progress: Json) => void {
    // Handlers take it out of their context.
    return (progress) => {
      checkPlainJson("progress", progress);
      this.#onProgress(this, progress);
    };
  }

  limitTime(clock: Clock, timeoutMs: number): void {
    this.#timer = clock.schedule(timeoutMs, () => {
      this.stop(new TimeoutError(`task ${this.task.id}`, timeoutMs));
    });
  }

  stop(reason: unknown): void {
    if (this.#isStopped) return;
    this.#isStopped = true;
    this.#stopReason = reason;
    this.#controller?.abort(reason);
    const { onStop } = this;
    this.onStop = undefined;
    onStop?.(reason);
  }

  /** The handler is done: its time is no more limited. */
  settle(): void {
    this.onStop = undefined;
    this.#timer?.cancel();
  }

  /** Renews the claim no more. */
  drop(): void {
    this.#batch.drop(this);
  }
}

/** What one call claimed: it was asked for at one time, so it is renewed together. */
class ClaimBatch {
  readonly #held = new Set<HeldTask>();
  readonly #onEmpty: (batch: ClaimBatch) => void;
  isSafe: () => boolean = () => true;

  constructor(onEmpty: (batch: ClaimBatch) => void) {
    this.#onEmpty = onEmpty;
  }

  get held(): ReadonlySet<HeldTask> {
    return this.#held;
  }

  add(held: HeldTask): void {
    this.#held.add(held);
  }

  holds(held: HeldTask): boolean {
    return this.#held.has(held) && this.isSafe();
  }

  drop(held: HeldTask): void {
    if (this.#held.delete(held) && this.#held.size === 0) this.#onEmpty(this);
  }

  loseAll(reasonOf: (task: ClaimedTask) => Error): void {
    for (const held of [...this.#held]) this.lose(held, reasonOf(held.task));
  }

  lose(held: HeldTask, reason: Error): void {
    this.drop(held);
    held.stop(reason);
  }
}

/**
 * The claims of one worker. Those that were claimed in one call are renewed together, in one call per third of the
 * lease, and a claim that ends before then costs nothing but its place in a set.
 */
export class HeldClaims {
  readonly #keeper: RenewalKeeper<ClaimBatch>;
  readonly #onProgress: (held: HeldTask, progress: Json) => void;

  constructor(options: {
    readonly queue: TaskQueue<never>;
    readonly leaseMs: number;
    readonly clock: Clock;
    readonly logger: Logger;
    readonly onProgress: (held: HeldTask, progress: Json) => void;
  }) {
    const { queue, leaseMs, clock, logger } = options;
    this.#onProgress = options.onProgress;
    this.#keeper = new RenewalKeeper({
      name: `claims of queue ${queue.name}`,
      ttlMs: leaseMs,
      clock,
      logger,
      renew: async (batches, signal) => {
        const places = batches.flatMap((batch) => [...batch.held].map((held) => ({ batch, held })));
        const refs = places.map(({ held: { task } }) => ({ id: task.id, token: task.token }));
        const outcomes = await queue.renew(refs, { leaseMs, signal });
        places.forEach(({ batch, held }, index) => {
          const { id, token } = held.task;
          if (outcomes[index] === "cancelled") batch.lose(held, new TaskCancelledError(id));
          else if (outcomes[index] !== "renewed") batch.lose(held, new ClaimLostError(id, token));
        });
        return batches.map(() => "renewed");
      },
      unconfirmed: (batch, cause) => {
        batch.loseAll(({ id, token }) => new ClaimLostError(id, token, { cause }));
        return new Error("given up");
      },
    });
  }

  /** Keeps what one call claimed. `askedAt` is `clock.monotonicNow()` from before the call. */
  keep(tasks: readonly ClaimedTask[], askedAt: number): readonly HeldTask[] {
    // A batch of none would never be dropped, since nothing of it ever ends.
    if (tasks.length === 0) return [];
    const batch: ClaimBatch = new ClaimBatch(() => kept.drop());
    const kept = this.#keeper.keep(batch, { askedAt });
    batch.isSafe = () => kept.isHeld;
    return tasks.map((task) => {
      const held = new HeldTask(task, batch, this.#onProgress);
      batch.add(held);
      return held;
    });
  }

  /** Stops renewing; what is held lapses by itself. */
  close(): Promise<void> {
    return this.#keeper.close();
  }
}

/** One signal for several tasks that a handler works on together: it aborts when one of them must stop. */
export const sharedSignal = (
  held: readonly HeldTask[],
): { readonly signal: AbortSignal; readonly dispose: () => void } => {
  const controller = childController(...held.map(({ signal }) => signal));
  return { signal: controller.signal, dispose: () => controller.dispose() };
};
