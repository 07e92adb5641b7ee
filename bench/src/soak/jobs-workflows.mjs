import { defineWorkflow } from "@holdfast/jobs";
import { z } from "zod";

/** Runs for a while and leaves one row at its beginning and one at its end, each exactly once. */
export const soak = defineWorkflow({
  name: "soak",
  input: z.object({ steps: z.number().int(), stepMs: z.number() }),
  shards: 3,
  maxAttempts: 1_000,
  backoff: { baseMs: 100, capMs: 1_000 },
  timeoutMs: 120_000,
  run: async (ctx) => {
    const { steps, stepMs } = ctx.input;
    const leaveRow = (step) =>
      ctx.effect(`step-${step}`, async (tx) => {
        const row = [ctx.jobId, ctx.shard, step, ctx.fence.toString()];
        await tx.query("insert into soak_effects values ($1, $2, $3, $4)", row);
        return null;
      });
    await leaveRow(0);
    for (let step = 1; step <= steps; step += 1) {
      await ctx.clock.sleep(stepMs, { signal: ctx.signal });
      ctx.progress(step, steps);
      ctx.count("steps");
    }
    await leaveRow(1);
    return { shard: ctx.shard };
  },
});
