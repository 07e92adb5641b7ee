import { createHttpAction, createRegistry, defineLoadTest } from "@holdfast/jobs";
import { createInlineExecutor } from "@holdfast/jobs/worker";
import { systemClock } from "@holdfast/kernel";
import type { EncodedHistogram } from "@holdfast/protocol/contract";
import { z } from "zod";

export interface LoadPlan {
  readonly url: string;
  readonly ratePerSecond: number;
  readonly inFlightMax: number;
  readonly durationMs: number;
}

export interface LoadFigures {
  readonly requests: number;
  readonly errors: number;
  readonly latency: EncodedHistogram;
  /** When the first action was due, milliseconds since the epoch with a fraction. */
  readonly startedAt: number;
}

/** Runs a load test the way a worker does, on this very thread, collecting figures four times a second. */
export const runOurLoad = async (plan: LoadPlan): Promise<LoadFigures> => {
  let startedAt = 0;
  const definition = defineLoadTest({
    name: "bench",
    input: z.unknown(),
    durationMs: plan.durationMs,
    ratePerSecond: plan.ratePerSecond,
    vus: plan.inFlightMax,
    setup: async () => {
      const action = await createHttpAction({ url: plan.url, connections: plan.inFlightMax });
      startedAt = performance.timeOrigin + performance.now();
      return action;
    },
  });
  const executor = createInlineExecutor({ registry: createRegistry([definition]), nodeId: "bench" });
  const execution = executor.execute(
    {
      taskId: "bench/bench/0",
      token: "1",
      jobId: "bench",
      workflowId: "bench",
      name: "bench",
      workflow: "bench",
      shard: 0,
      shardCount: 1,
      attempt: 1,
      maxAttempts: 1,
      input: null,
      timeoutMs: definition.timeoutMs,
      datacenter: "bench",
      leader: { nodeId: "bench", address: "", fence: "1" },
      dependencies: {},
    },
    { onUpdate: () => undefined },
  );
  const collecting = new AbortController();
  const collector = collectUntil(collecting.signal, () => execution.collect());
  const outcome = await execution.outcome;
  collecting.abort();
  await collector;
  if (outcome.kind === "failed") throw new Error(`the load test failed: ${outcome.error.message}`);
  const { counters, histograms } = outcome.totals;
  const { latency } = histograms;
  if (latency === undefined) throw new Error("nothing was measured");
  return { requests: counters["requests"] ?? 0, errors: counters["errors"] ?? 0, latency, startedAt };
};

const collectUntil = async (signal: AbortSignal, collect: () => void): Promise<void> => {
  while (!signal.aborted) {
    await systemClock.sleep(250, { signal }).catch(() => undefined);
    collect();
  }
};
