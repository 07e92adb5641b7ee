import type { JobEvent, JobSpec } from "@holdfast/protocol/contract";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  decodeJobState,
  encodeJobState,
  isActive,
  isTerminal,
  isWorkflowTerminal,
  type JobState,
  newJobState,
} from "../job-state.ts";
import { type RestoredTask, restoreShards } from "../restore-job.ts";
import { type Effects, noEffects } from "./effects.ts";
import { cancelJob, cancelWorkflow, confirmStopped, timeOutJob } from "./end-early.ts";
import { completeShard, failShard, retryShard } from "./shard-ends.ts";
import { startJob } from "./start-workflows.ts";

interface Shape {
  readonly workflows: readonly {
    readonly shards: number;
    readonly dependsOn: readonly number[];
    readonly exclusive: boolean;
  }[];
  readonly partial: boolean;
}

const shapes: fc.Arbitrary<Shape> = fc.record({
  partial: fc.boolean(),
  workflows: fc
    .array(
      fc.record({
        shards: fc.integer({ min: 1, max: 4 }),
        dependsOn: fc.array(fc.nat(7), { maxLength: 3 }),
        exclusive: fc.boolean(),
      }),
      { minLength: 1, maxLength: 6 },
    )
    // A workflow may only depend on earlier ones, so there is no cycle.
    .map((list) =>
      list.map((workflow, index) => ({
        ...workflow,
        exclusive: workflow.exclusive && index % 3 === 0,
        dependsOn: [...new Set(workflow.dependsOn.filter((target) => target < index))],
      })),
    ),
});

type Step =
  | { readonly kind: "complete" | "dead" | "retry" | "duplicate"; readonly pick: number }
  | { readonly kind: "cancelWorkflow"; readonly pick: number; readonly dependents: boolean }
  | { readonly kind: "cancel" | "timeout" | "stopped" | "reload" };

const steps: fc.Arbitrary<readonly Step[]> = fc.array(
  fc.oneof(
    {
      weight: 12,
      arbitrary: fc.record({ kind: fc.constant("complete" as const), pick: fc.nat(1000) }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        kind: fc.constantFrom("dead" as const, "retry" as const, "duplicate" as const),
        pick: fc.nat(1000),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constant("cancelWorkflow" as const),
        pick: fc.nat(1000),
        dependents: fc.boolean(),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        kind: fc.constantFrom("cancel" as const, "timeout" as const, "stopped" as const, "reload" as const),
      }),
    },
    { weight: 2, arbitrary: fc.constant({ kind: "reload" as const }) },
  ),
  { maxLength: 60 },
);

const specOf = (shape: Shape): JobSpec => ({
  name: "property",
  workflows: shape.workflows.map(({ dependsOn, exclusive }, index) => ({
    id: `wf-${index}`,
    name: `w${index}`,
    workflow: "any",
    input: {},
    dependsOn: dependsOn.map((target) => `w${target}`),
    priority: exclusive ? "exclusive" : "auto",
  })),
  timeoutMs: 60_000,
  datacenters: [],
  datacenterCount: 1,
  policy: shape.partial ? "allow-partial" : "require-all",
  reporting: [],
  labels: {},
});

const plan = (shards: number) => ({
  kind: "workflow" as const,
  shards,
  maxAttempts: 3,
  timeoutMs: 1000,
  backoff: { baseMs: 1, factor: 2, capMs: 10 },
});

const resultOf = (workflow: number, shard: number) => ({
  output: `${workflow}/${shard}`,
  totals: { counters: { units: shard + 1, [`w${workflow}`]: 1 }, histograms: {} },
  progress: { done: shard + 1, total: shard + 1 },
});

const failure = { code: "TEST", message: "boom", retryable: false };

type TaskState = RestoredTask["state"];

/** A job with the part of the queue that matters to it: a task ends once, and a cancelled one never completes. */
class Run {
  job: JobState;
  readonly spec: JobSpec;
  readonly tasks = new Map<string, { workflow: number; shard: number; state: TaskState }>();
  readonly events: JobEvent[] = [];
  /** Units of shards that the queue accepted as completed. */
  acceptedUnits = 0;
  now = 1_000;
  #stored = "";

  constructor(shape: Shape) {
    this.spec = specOf(shape);
    this.job = newJobState({
      jobId: "job-1",
      datacenter: "east",
      spec: this.spec,
      plans: shape.workflows.map(({ shards }) => plan(shards)),
      submittedAt: 1_000,
    });
    this.#decide((effects) => startJob(this.job, effects, this.now));
  }

  openTasks() {
    return [...this.tasks.values()].filter(({ state }) => state === "pending");
  }

  step(step: Step): void {
    this.now += 1;
    switch (step.kind) {
      case "complete":
      case "dead":
      case "retry": {
        const open = this.openTasks();
        const task = open[step.pick % Math.max(1, open.length)];
        if (task === undefined) return;
        const { workflow, shard } = task;
        const attempt = { shard, attempt: 1, worker: "w", error: failure };
        if (step.kind === "complete") {
          task.state = "completed";
          this.acceptedUnits += shard + 1;
          this.#decide((effects) =>
            completeShard(
              this.job,
              workflow,
              { shard, result: resultOf(workflow, shard) },
              effects,
              this.now,
            ),
          );
        } else if (step.kind === "dead") {
          task.state = "dead";
          this.#decide((effects) => failShard(this.job, workflow, attempt, effects, this.now));
        } else {
          this.#decide((effects) => retryShard(this.job, workflow, attempt, effects, this.now));
        }
        return;
      }
      case "duplicate": {
        // The model is told twice of a shard that ended: it must not count it again.
        const ended = [...this.tasks.values()].filter(({ state }) => state === "completed");
        const task = ended[step.pick % Math.max(1, ended.length)];
        if (task === undefined) return;
        const { workflow, shard } = task;
        this.#decide((effects) =>
          completeShard(this.job, workflow, { shard, result: resultOf(workflow, shard) }, effects, this.now),
        );
        return;
      }
      case "cancelWorkflow": {
        const id = this.spec.workflows[step.pick % this.spec.workflows.length]?.id ?? "";
        const options = { reason: "test", dependents: step.dependents };
        this.#decide((effects) => cancelWorkflow(this.job, id, options, effects, this.now));
        return;
      }
      case "cancel":
        this.#decide((effects) => cancelJob(this.job, { reason: "test" }, effects, this.now));
        return;
      case "timeout":
        this.#decide((effects) => timeOutJob(this.job, effects, this.now));
        return;
      case "stopped":
        this.#decide((effects) => confirmStopped(this.job, effects, this.now));
        return;
      case "reload":
        this.job = this.reloaded();
    }
  }

  /** What a new leader reads from the row and from the queue. */
  reloaded(): JobState {
    const job = decodeJobState({
      jobId: "job-1",
      datacenter: "east",
      spec: this.spec,
      status: this.job.status,
      state: JSON.parse(this.#stored),
      submittedAt: 1_000,
    });
    for (const { index } of job.workflows) {
      const undecided = restoreShards(
        job,
        index,
        [...this.tasks.values()]
          .filter(({ workflow }) => workflow === index)
          .map(({ shard, state }) => ({
            state,
            payload: { jobId: "job-1", workflowId: `wf-${index}`, shard },
            result: state === "completed" ? resultOf(index, shard) : undefined,
            attempt: 1,
            failures: [],
            worker: "w",
          })),
      );
      expect(undecided).toEqual([]);
    }
    return job;
  }

  #decide(body: (effects: Effects) => void): void {
    const effects = noEffects();
    body(effects);
    this.events.push(...effects.events);
    for (const index of effects.enqueue) {
      for (let shard = 0; shard < (this.job.workflows[index]?.plan.shards ?? 0); shard += 1) {
        const key = `${index}/${shard}`;
        expect(this.tasks.has(key), "a shard is enqueued once").toBe(false);
        this.tasks.set(key, { workflow: index, shard, state: "pending" });
      }
    }
    for (const index of effects.cancel) {
      for (const task of this.tasks.values()) {
        if (task.workflow === index && task.state === "pending") task.state = "cancelled";
      }
    }
    if (effects.stateChanged) this.#stored = JSON.stringify(encodeJobState(this.job));
  }
}

const checkInvariants = (run: Run): void => {
  const { job } = run;
  for (const workflow of job.workflows) {
    const { results, plan: workflowPlan, status } = workflow;
    const tasks = [...run.tasks.values()].filter((task) => task.workflow === workflow.index);
    const count = (state: TaskState) => tasks.filter((task) => task.state === state).length;
    expect(results.completedCount).toBe(count("completed"));
    expect(results.deadCount).toBe(count("dead"));
    expect(status === "completed").toBe(results.completedCount === workflowPlan.shards);
    if (isActive(workflow)) expect(count("pending")).toBeGreaterThan(0);
    if (isWorkflowTerminal(status)) expect(count("pending")).toBe(0);
    if (status === "pending") expect(tasks).toEqual([]);
    if (tasks.length > 0) {
      for (const index of job.graph.dependencies[workflow.index] ?? []) {
        const dependency = job.workflows[index];
        expect(dependency?.status === "completed" || dependency?.isBypassed).toBe(true);
      }
    }
  }
  const active = job.workflows.filter(isActive);
  if (active.some(({ spec }) => spec.priority === "exclusive")) expect(active).toHaveLength(1);
  if (isTerminal(job.status)) {
    expect(job.workflows.every(({ status }) => isWorkflowTerminal(status))).toBe(true);
    expect(run.events.at(-1)?.type).toBe("job.result");
  } else if (job.status !== "cancelling") {
    expect(active.length, "an unfinished job has something to do").toBeGreaterThan(0);
  }
  const units = job.workflows.reduce(
    (sum, { results }) => sum + (results.totals().counters["units"] ?? 0),
    0,
  );
  expect(units).toBe(run.acceptedUnits);
  const done = job.workflows.reduce((sum, { results }) => sum + results.progress.done, 0);
  expect(done).toBe(run.acceptedUnits);
};

describe("a job in a datacenter", () => {
  it("keeps its invariants through any order of completions, failures, cancels, timeouts and reloads", () => {
    fc.assert(
      fc.property(shapes, steps, (shape, list) => {
        const run = new Run(shape);
        checkInvariants(run);
        let terminal: string | undefined;
        for (const step of list) {
          const eventCount = run.events.length;
          run.step(step);
          checkInvariants(run);
          if (terminal !== undefined) {
            expect(run.job.status).toBe(terminal);
            expect(run.events).toHaveLength(eventCount);
          }
          if (isTerminal(run.job.status)) terminal = run.job.status;
        }
        expect(run.events.filter(({ type }) => type === "job.result").length).toBe(
          terminal === undefined ? 0 : 1,
        );
        const ended = run.job.workflows.filter(({ status }) => isWorkflowTerminal(status));
        expect(run.events.filter(({ type }) => type === "workflow.result")).toHaveLength(ended.length);
      }),
      { numRuns: 400 },
    );
  });

  it("is the same after a reload at any moment", () => {
    fc.assert(
      fc.property(shapes, steps, (shape, list) => {
        const run = new Run(shape);
        for (const step of list) {
          run.step(step);
          const again = run.reloaded();
          expect(encodeJobState(again)).toEqual(encodeJobState(run.job));
          again.workflows.forEach((workflow, index) => {
            const { results } = run.job.workflows[index] as (typeof run.job.workflows)[number];
            expect(workflow.results.totals()).toEqual(results.totals());
            expect(workflow.results.outputs()).toEqual(results.outputs());
            expect(workflow.results.progress).toEqual(results.progress);
          });
        }
      }),
      { numRuns: 200 },
    );
  });

  it("comes to the same result in whatever order its shards complete", () => {
    fc.assert(
      fc.property(shapes, fc.array(fc.nat(1000)), fc.array(fc.nat(1000)), (shape, left, right) => {
        const results = [left, right].map((picks) => {
          const run = new Run(shape);
          for (let step = 0; run.openTasks().length > 0; step += 1) {
            run.step({ kind: "complete", pick: picks[step % Math.max(1, picks.length)] ?? 0 });
            if (step % 3 === 0) run.step({ kind: "reload" });
          }
          expect(run.job.status).toBe("completed");
          return run.job.workflows.map(({ status, results: shardResults }) => ({
            status,
            totals: shardResults.totals(),
            outputs: shardResults.outputs(),
          }));
        });
        expect(results[0]).toEqual(results[1]);
      }),
      { numRuns: 200 },
    );
  });

  it("ends alike for the same dead shards in whatever order, when parts are allowed", () => {
    fc.assert(
      fc.property(
        shapes,
        fc.nat(5),
        fc.array(fc.nat(1000)),
        fc.array(fc.nat(1000)),
        (shape, victim, left, right) => {
          const statuses = [left, right].map((picks) => {
            const run = new Run({ ...shape, partial: true });
            for (let step = 0; run.openTasks().length > 0; step += 1) {
              const pick = picks[step % Math.max(1, picks.length)] ?? 0;
              const open = run.openTasks();
              // Shard 0 of the victim never succeeds.
              const isVictim = (task: (typeof open)[number] | undefined): boolean =>
                task?.workflow === victim && task.shard === 0;
              run.step({ kind: isVictim(open[pick % open.length]) ? "dead" : "complete", pick });
            }
            return [run.job.status, ...run.job.workflows.map(({ status }) => status)];
          });
          expect(statuses[0]).toEqual(statuses[1]);
        },
      ),
      { numRuns: 200 },
    );
  });
});
