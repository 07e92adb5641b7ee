import type { CoordinationStore } from "../store.ts";

/** One store made ready for one test, by the backend under test. */
export interface CoordinationHarness<Tx> extends AsyncDisposable {
  readonly store: CoordinationStore<Tx>;
  /** Lets `ms` pass for the store: leases lapse and delayed tasks become due as if the time had gone by. */
  elapse(ms: number): Promise<void>;
  /**
   * True when calls outside an open transaction run beside it (a database server); false when they wait for
   * its end (memory, the embedded database). Tests of interleaving run only where it is true.
   */
  readonly runsBesideTransactions: boolean;
}

export type SetUp<Tx> = () => Promise<CoordinationHarness<Tx>>;

/** A store that has leases, for the suite of these alone. */
export type LeasesSetUp = () => Promise<PartHarness<"leases">>;
/** A store that has a log, for the suite of it alone. */
export type LogSetUp = () => Promise<PartHarness<"log" | "now">>;

/** A store that has queues, for the suites of these alone. */
export type TasksSetUp<Tx> = () => Promise<TasksHarness<Tx>>;
export interface TasksHarness<Tx> extends AsyncDisposable {
  readonly store: Pick<CoordinationStore<Tx>, "queue">;
  elapse(ms: number): Promise<void>;
}

interface PartHarness<Part extends keyof CoordinationStore> extends AsyncDisposable {
  readonly store: Pick<CoordinationStore<never>, Part>;
  elapse(ms: number): Promise<void>;
}

/** The result of something that waits or pauses, while time goes by in steps of so many milliseconds. */
export const whileElapsing = async <T>(
  harness: Pick<TasksHarness<never>, "elapse">,
  stepMs: number,
  promise: Promise<T>,
): Promise<T> => {
  let isSettled = false;
  const settled = promise.finally(() => {
    isSettled = true;
  });
  settled.catch(() => undefined);
  while (!isSettled) {
    await harness.elapse(stepMs);
    await new Promise((resolve) => setImmediate(resolve));
  }
  return settled;
};
