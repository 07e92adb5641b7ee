import type { JobSpec, WorkflowResult } from "@holdfast/protocol/contract";

export interface MergedWorkflow {
  readonly id: string;
  readonly name: string;
  readonly workflow: string;
  /** Added by a datacenter, whose workers know of a dependency that the gate's copy of the job does not have. */
  readonly isExtra: boolean;
}

/** The workflows of a job: those of its spec, and those that only the datacenters' results name. */
export const workflowsOf = (
  spec: Pick<JobSpec, "workflows">,
  parts: readonly { readonly results: ReadonlyMap<string, WorkflowResult> }[],
): readonly MergedWorkflow[] => {
  const known = new Map<string, MergedWorkflow>();
  for (const { id, name, workflow } of spec.workflows) known.set(id, { id, name, workflow, isExtra: false });
  for (const { results } of parts) {
    for (const [id, { name, workflow }] of results) {
      if (!known.has(id)) known.set(id, { id, name, workflow, isExtra: true });
    }
  }
  return [...known.values()];
};

/** What each datacenter said of a workflow. One that adds no extra workflow owes no result of it. */
export const partsOf = (
  workflow: MergedWorkflow,
  parts: readonly { readonly datacenter: string; readonly results: ReadonlyMap<string, WorkflowResult> }[],
): readonly { readonly datacenter: string; readonly result: WorkflowResult | undefined }[] =>
  parts
    .map(({ datacenter, results }) => ({ datacenter, result: results.get(workflow.id) }))
    .filter(({ result }) => !workflow.isExtra || result !== undefined);
