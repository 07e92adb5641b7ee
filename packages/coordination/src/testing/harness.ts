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
