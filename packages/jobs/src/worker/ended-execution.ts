import type { Execution } from "./executor.ts";
import { failureOf } from "./shard-failure.ts";

/** An attempt that could not even start. */
export const endedExecution = (error: unknown): Execution => ({
  outcome: Promise.resolve({ kind: "failed", ...failureOf(error), lastUpdate: undefined }),
  collect: () => undefined,
  stop: () => undefined,
});
