import type { Abortable } from "@holdfast/kernel";
import type { Leases } from "./lease/leases.ts";
import type { Log } from "./log/log.ts";
import type { TaskQueue } from "./queue/task-queue.ts";
import type { States } from "./state-sync/states.ts";

/**
 * One place that holds leases, logs and queues, so that changes to several of them commit together.
 *
 * `Tx` is opaque to callers: they get it from `transaction` and pass it on. A transaction is serialised
 * against others where they touch the same names; it commits when `body` resolves and leaves no trace when
 * it rejects.
 */
export interface CoordinationStore<Tx = unknown> extends AsyncDisposable {
  readonly leases: Leases<Tx>;
  readonly log: Log<Tx>;
  readonly states: States<Tx>;
  /** The queue of this name; the same object for the same name. Names: 1 to 128 characters of `[A-Za-z0-9_.:-]`. */
  queue(name: string): TaskQueue<Tx>;
  /**
   * Runs `body` in one transaction. Calls without `tx` made inside `body` are NOT part of it and may wait for
   * ever on a single-session backend: pass `tx` everywhere.
   * @throws what `body` throws, after rolling back.
   * @throws OutcomeUnknownError when the connection broke during commit.
   */
  transaction<T>(body: (tx: Tx) => Promise<T>, options?: Abortable): Promise<T>;
  /** Milliseconds since the epoch by the store's clock. */
  now(options?: Abortable): Promise<number>;
  close(): Promise<void>;
}
