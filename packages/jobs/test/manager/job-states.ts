import type { JobSpec } from "@holdfast/protocol/contract";
import { type JobState, newJobState } from "../../src/manager/job-state.ts";

type Workflow = JobSpec["workflows"][number];

/** One workflow of a job. */
export const workflowSpec = (
  name: string,
  change: Partial<Pick<Workflow, "dependsOn" | "priority">> = {},
): Workflow => ({
  id: `wf-${name}`,
  name,
  workflow: "any",
  input: {},
  dependsOn: [],
  priority: "auto",
  ...change,
});

/** A job as a manager keeps it, before anything was decided; each workflow has one shard and one attempt. */
export const newJob = (workflows: readonly Workflow[], policy: JobSpec["policy"] = "require-all"): JobState =>
  newJobState({
    jobId: "job-1",
    datacenter: "east",
    spec: {
      name: "large",
      workflows: [...workflows],
      timeoutMs: 1_000,
      datacenters: [],
      datacenterCount: 1,
      policy,
      reporting: [],
      labels: {},
    },
    plans: workflows.map(() => ({
      kind: "workflow",
      shards: 1,
      maxAttempts: 1,
      timeoutMs: 1,
      backoff: { baseMs: 1, factor: 1, capMs: 1 },
    })),
    submittedAt: 1,
  });
