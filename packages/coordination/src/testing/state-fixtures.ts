import { type Clock, systemClock } from "@holdfast/kernel";
import { vi } from "vitest";
import type { Json } from "../json.ts";
import type { StateUpdate } from "../state-sync/replica-follower.ts";
import { StateReplica, type StateReplicaOptions } from "../state-sync/state-replica.ts";
import type { StateChange, States } from "../state-sync/states.ts";
import type { CoordinationStore } from "../store.ts";
import { whileElapsing } from "./harness.ts";

export interface StateSyncHarness extends AsyncDisposable {
  readonly store: Pick<CoordinationStore<never>, "states" | "log">;
  /** Lets `ms` pass for the store, and for the replicas where they run on a virtual clock. */
  elapse(ms: number): Promise<void>;
  /** The clock that replicas of this test run on. Default: the system's. */
  readonly clock?: Clock;
}

export const setsOf = (updates: readonly StateUpdate[]): readonly Json[] =>
  updates.flatMap((update) => (update.kind === "set" ? [update.value] : []));

export const changesOf = async (
  states: States<never>,
  namespace: string,
): Promise<readonly StateChange[]> => {
  const read = await states.changes(namespace, { after: { epoch: 0n, offset: 0n }, limit: 10_000 });
  if (read.kind === "reset") throw new Error("the changes were trimmed");
  return read.changes;
};

/** Replicas of one test, each stopped at its end. */
export const openReplicas = async (setUp: () => Promise<StateSyncHarness>) => {
  const harness = await setUp();
  const { states } = harness.store;
  const replicas: StateReplica[] = [];
  const clock = harness.clock ?? systemClock;
  const make = (options: Partial<StateReplicaOptions> = {}): StateReplica => {
    const replica = new StateReplica({ states, namespace: "ns", clock, pollMs: 500, ...options });
    replicas.push(replica);
    return replica;
  };
  return {
    ...harness,
    states,
    make,
    started: async (options: Partial<StateReplicaOptions> = {}) => {
      const replica = make(options);
      await replica.start();
      return replica;
    },
    /** Waits for a condition while time goes by, for the store too. */
    until: (condition: () => unknown) =>
      vi.waitFor(
        async () => {
          await harness.elapse(5);
          await condition();
        },
        { timeout: 5000, interval: 10 },
      ),
    /** The result of something that pauses, while time goes by. */
    through: <T>(promise: Promise<T>): Promise<T> => whileElapsing(harness, 1, promise),
    [Symbol.asyncDispose]: async () => {
      await Promise.all(replicas.map((replica) => replica.stop()));
      await harness[Symbol.asyncDispose]();
    },
  };
};
