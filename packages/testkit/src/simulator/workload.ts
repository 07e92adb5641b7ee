import { createRegistry, defineWorkflow, PermanentError, type WorkflowRegistry } from "@holdfast/jobs";
import type { SubmitOptions } from "@holdfast/jobs/client";
import { type Clock, type Random, randomInt } from "@holdfast/kernel";
import type { JobStatus } from "@holdfast/protocol/contract";
import { z } from "zod";

/** What each shard of `fan` does: so many effects, each counted as one unit. */
export const FAN_STEPS = 4;

/** What a job of the workload must come to, whatever breaks on its way. */
export interface Expectation {
  readonly statuses: readonly JobStatus[];
  /** Units per datacenter when it completed: of the counter `units`, and of effects in the ledger. */
  readonly unitsPerDatacenter: number;
}

export interface PlannedJob {
  readonly submit: Omit<SubmitOptions, "signal">;
  readonly submitAtMs: number;
  /** Cancelled so long after it was accepted. */
  readonly cancelAfterMs?: number;
  readonly expected: Expectation;
}

/** The workflows that simulated workers offer. All their time is the simulated clock's. */
export const simulatedWorkflows = (clock: Clock, random: Random): WorkflowRegistry => {
  const pause = (signal: AbortSignal, ms: number): Promise<void> =>
    clock.sleep(random.next() * ms, { signal });
  const shards = z.object({ shards: z.number().int().min(1).default(3) });
  return createRegistry([
    defineWorkflow({
      name: "nothing",
      input: z.object({}),
      run: async () => null,
    }),
    defineWorkflow({
      name: "fan",
      input: shards,
      shards: (input) => input.shards,
      // Crashes and cuts cost attempts that are not the workflow's fault.
      maxAttempts: 100,
      backoff: { baseMs: 100, capMs: 1_000 },
      async run(ctx) {
        for (let step = 0; step < FAN_STEPS; step += 1) {
          await pause(ctx.signal, 1_500);
          await ctx.effect(`step-${step}`, async () => ({ step }));
          ctx.count("units");
          ctx.progress(step + 1, FAN_STEPS);
        }
        return { shard: ctx.shard };
      },
    }),
    defineWorkflow({
      name: "after-fan",
      input: shards,
      dependsOn: ["fan"],
      maxAttempts: 100,
      backoff: { baseMs: 100, capMs: 1_000 },
      async run(ctx) {
        const fan = ctx.dependencies["fan"];
        if (fan?.outputs.length !== ctx.input.shards)
          throw new PermanentError(`saw ${fan?.outputs.length} of ${ctx.input.shards} outputs`);
        await pause(ctx.signal, 200);
        return { units: fan.counters["units"] ?? 0 };
      },
    }),
    defineWorkflow({
      name: "flaky",
      input: shards,
      shards: (input) => input.shards,
      maxAttempts: 100,
      backoff: { baseMs: 100, capMs: 1_000 },
      async run(ctx) {
        await pause(ctx.signal, 300);
        if (random.next() < 0.4) throw new Error("fails by chance");
        ctx.count("units");
        return null;
      },
    }),
    defineWorkflow({
      name: "doomed",
      input: z.object({}),
      shards: 2,
      async run(ctx) {
        await pause(ctx.signal, 500);
        if (ctx.shard === 1) throw new PermanentError("was never going to work");
        return null;
      },
    }),
    defineWorkflow({
      name: "endless",
      input: z.object({}),
      shards: 2,
      maxAttempts: 100,
      timeoutMs: 3_600_000,
      async run(ctx) {
        await clock.sleep(3_600_000, { signal: ctx.signal });
        return null;
      },
    }),
  ]);
};

/** Jobs of every kind at random times within `spanMs`. */
export const planJobs = (
  random: Random,
  options: { readonly count: number; readonly spanMs: number; readonly datacenters: readonly string[] },
): readonly PlannedJob[] =>
  Array.from({ length: options.count }, (_, index) => planJob(random, index, options));

const planJob = (
  random: Random,
  index: number,
  options: { readonly spanMs: number; readonly datacenters: readonly string[] },
): PlannedJob => {
  const submitAtMs = random.next() * options.spanMs;
  const shards = 1 + randomInt(random, 5);
  const everywhere = random.next() < 0.4;
  const place = everywhere
    ? { datacenters: options.datacenters, datacenterCount: options.datacenters.length }
    : { datacenterCount: 1 };
  // Longer than anything that the faults can hold up.
  const common = {
    ...place,
    timeoutMs: 1_200_000,
    deadlineMs: 600_000,
    idempotencyKey: `sim:${index}:${randomInt(random, 1_000_000)}`,
  };
  const job = (
    workflow: string,
    input: Record<string, number>,
    expected: Expectation,
    extra: Partial<PlannedJob> = {},
  ): PlannedJob => ({
    submit: { ...common, name: `${workflow}-${index}`, workflows: [{ workflow, input }] },
    submitAtMs,
    expected,
    ...extra,
  });
  switch (randomInt(random, 7)) {
    case 0:
      return job("nothing", {}, { statuses: ["completed"], unitsPerDatacenter: 0 });
    case 1:
    case 2:
      return job("fan", { shards }, { statuses: ["completed"], unitsPerDatacenter: shards * FAN_STEPS });
    case 3:
      return job(
        "after-fan",
        { shards },
        { statuses: ["completed"], unitsPerDatacenter: shards * FAN_STEPS },
      );
    case 4:
      return job("flaky", { shards }, { statuses: ["completed"], unitsPerDatacenter: shards });
    case 5:
      return job("doomed", {}, { statuses: ["failed"], unitsPerDatacenter: 0 });
    default:
      return job(
        "endless",
        {},
        { statuses: ["cancelled"], unitsPerDatacenter: 0 },
        { cancelAfterMs: random.next() * 10_000 },
      );
  }
};
