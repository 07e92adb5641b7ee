import type { ClaimedTask } from "@holdfast/coordination";
import type { Assignment, JobSpec, Leader, WorkflowSpec } from "@holdfast/protocol/contract";
import { approximateBytes } from "../model/approximate-bytes.ts";
import type { JobRow, JobStore } from "../model/job-table.ts";
import { SHARD_QUEUE, type ShardPayload, shardGroup } from "../model/shard-task.ts";
import { dependencyValue } from "./decide/result.ts";
import { decodeJobState, decodePlans, isTerminal, type JobState, type WorkflowPlan } from "./job-state.ts";
import type { LedJobs } from "./led-jobs.ts";
import { restoreShards } from "./restore-job.ts";
import { evenShare } from "./task-priority.ts";

export interface AssignmentsOptions {
  readonly store: JobStore;
  readonly led: LedJobs;
  readonly datacenter: string;
  readonly monotonicNow: () => number;
  /** The leader behind an owner of a row. */
  readonly leaderOf: (row: Pick<JobRow, "owner" | "fence" | "finishedAt">) => Leader;
}

type Dependencies = Assignment["dependencies"];

/** A job that another manager leads, as far as its shards need it. */
interface ForeignJob {
  readonly row: JobRow;
  readonly plans: readonly WorkflowPlan[];
  /** By workflow id. Fixed once its dependencies have completed, which they have when a shard of it is claimed. */
  readonly dependencies: Map<string, Dependencies>;
  readonly readAt: number;
  sizeBytes: number;
}

/** The leader and the status in a row may change; worker and manager cope with an old leader for a moment. */
const FOREIGN_KEPT_MS = 2_000;
const FOREIGN_MAX_BYTES = 64 * 1024 * 1024;
const PAGE_MAX_COUNT = 200;

/**
 * Makes from claimed tasks what workers need to run them, also for jobs that another manager of the datacenter
 * leads: these are read from the store and kept for 2 s (at most some 64 MiB).
 */
export class Assignments {
  readonly #options: AssignmentsOptions;
  readonly #foreign = new Map<string, ForeignJob>();
  #foreignBytes = 0;

  constructor(options: AssignmentsOptions) {
    this.#options = options;
  }

  /**
   * One assignment per task, in order; undefined where the task's job or workflow has ended or is gone.
   * @throws what the store throws.
   */
  async build(tasks: readonly ClaimedTask[]): Promise<readonly (Assignment | undefined)[]> {
    await this.#readForeign(tasks);
    return Promise.all(tasks.map((task) => this.#assignment(task)));
  }

  async #assignment(task: ClaimedTask): Promise<Assignment | undefined> {
    const { jobId, workflowId } = task.payload as unknown as ShardPayload;
    const led = this.#options.led.get(jobId);
    if (led !== undefined) {
      const index = led.state.indexById.get(workflowId);
      const workflow = index === undefined ? undefined : led.state.workflows[index];
      if (workflow === undefined) return undefined;
      return this.#toAssignment(task, {
        spec: led.state.spec,
        workflow: workflow.spec,
        plan: workflow.plan,
        leader: led.leader,
        dependencies: ledDependencies(led.state, workflow.index),
      });
    }
    const foreign = this.#foreign.get(jobId);
    if (foreign === undefined) return undefined;
    const { row, plans } = foreign;
    const index = row.spec.workflows.findIndex(({ id }) => id === workflowId);
    const workflow = row.spec.workflows[index];
    const plan = plans[index];
    if (workflow === undefined || plan === undefined || isTerminal(row.status)) return undefined;
    return this.#toAssignment(task, {
      spec: row.spec,
      workflow,
      plan,
      leader: this.#options.leaderOf(row),
      dependencies: await this.#foreignDependencies(foreign, workflow),
    });
  }

  #toAssignment(
    task: ClaimedTask,
    job: {
      readonly spec: JobSpec;
      readonly workflow: WorkflowSpec;
      readonly plan: WorkflowPlan;
      readonly leader: Leader;
      readonly dependencies: Dependencies;
    },
  ): Assignment {
    const { jobId, workflowId, shard } = task.payload as unknown as ShardPayload;
    const { spec, workflow, plan, leader, dependencies } = job;
    return {
      taskId: task.id,
      token: task.token.toString(),
      jobId,
      workflowId,
      name: workflow.name,
      workflow: workflow.workflow,
      shard,
      shardCount: plan.shards,
      attempt: task.attempt,
      maxAttempts: plan.maxAttempts,
      input: workflow.input,
      ...(spec.vus === undefined ? {} : { vus: evenShare(spec.vus, plan.shards, shard) }),
      timeoutMs: plan.timeoutMs,
      ...(spec.durationMs === undefined ? {} : { durationMs: spec.durationMs }),
      datacenter: this.#options.datacenter,
      leader,
      dependencies,
    };
  }

  async #readForeign(tasks: readonly ClaimedTask[]): Promise<void> {
    const { led, store, monotonicNow } = this.#options;
    const now = monotonicNow();
    const wanted = new Set<string>();
    for (const { payload } of tasks) {
      const { jobId } = payload as unknown as ShardPayload;
      const known = this.#foreign.get(jobId);
      if (led.get(jobId) === undefined && (known === undefined || now - known.readAt > FOREIGN_KEPT_MS)) {
        wanted.add(jobId);
      }
    }
    if (wanted.size === 0) return;
    for (const jobId of wanted) this.#forget(jobId);
    for (const row of await store.jobs.get([...wanted])) {
      const sizeBytes = approximateBytes(row.spec);
      const plans = decodePlans(row.state);
      this.#foreign.set(row.jobId, { row, plans, dependencies: new Map(), readAt: now, sizeBytes });
      this.#foreignBytes += sizeBytes;
    }
    for (const jobId of this.#foreign.keys()) {
      if (this.#foreignBytes <= FOREIGN_MAX_BYTES) break;
      // What this round has read is needed at once.
      if (!wanted.has(jobId)) this.#forget(jobId);
    }
  }

  #forget(jobId: string): void {
    const known = this.#foreign.get(jobId);
    if (known === undefined) return;
    this.#foreign.delete(jobId);
    this.#foreignBytes -= known.sizeBytes;
  }

  async #foreignDependencies(job: ForeignJob, workflow: WorkflowSpec): Promise<Dependencies> {
    if (workflow.dependsOn.length === 0) return {};
    const known = job.dependencies.get(workflow.id);
    if (known !== undefined) return known;
    const { row } = job;
    const state = decodeJobState({ ...row, datacenter: this.#options.datacenter });
    const index = state.indexById.get(workflow.id) ?? -1;
    const queue = this.#options.store.coordination.queue(SHARD_QUEUE);
    for (const target of state.graph.dependencies[index] ?? []) {
      const group = shardGroup(row.jobId, row.spec.workflows[target]?.id ?? "");
      for (let afterId: string | undefined; ; ) {
        const records = await queue.list({
          group,
          states: ["completed"],
          limit: PAGE_MAX_COUNT,
          ...(afterId === undefined ? {} : { afterId }),
        });
        restoreShards(state, target, records);
        afterId = records.at(-1)?.id;
        if (records.length < PAGE_MAX_COUNT) break;
      }
    }
    const dependencies = ledDependencies(state, index);
    job.dependencies.set(workflow.id, dependencies);
    const sizeBytes = approximateBytes(dependencies);
    job.sizeBytes += sizeBytes;
    if (this.#foreign.get(row.jobId) === job) this.#foreignBytes += sizeBytes;
    return dependencies;
  }
}

const ledDependencies = (state: JobState, index: number): Dependencies => {
  const dependencies: Dependencies = {};
  for (const target of state.graph.dependencies[index] ?? []) {
    const dependency = state.workflows[target];
    if (dependency !== undefined) dependencies[dependency.spec.name] = dependencyValue(dependency);
  }
  return dependencies;
};
