import { createHash } from "node:crypto";
import { InvalidInputError } from "@holdfast/kernel";
import { type JobSpec, WORKFLOWS_MAX_COUNT, type WorkflowSpec } from "@holdfast/protocol/contract";

/**
 * The job with the dependencies that its definitions ask for. A workflow whose definition depends on a
 * registered workflow waits for every workflow of the job that runs it; where the job has none, one is added
 * with the same input, under an id derived from the job's, so that every node derives the same job.
 * Expanding twice changes nothing.
 *
 * @param dependsOnOf The registered names that the definition of a registered workflow depends on. May ask
 * other nodes; it is called once per registered name.
 * @throws InvalidInputError when the job would have more than {@link WORKFLOWS_MAX_COUNT} workflows.
 */
export const expandSpec = async (
  jobId: string,
  spec: JobSpec,
  dependsOnOf: (workflow: WorkflowSpec) => Promise<readonly string[]>,
): Promise<JobSpec> => {
  const workflows: WorkflowSpec[] = [...spec.workflows];
  const namesByWorkflow = new Map<string, string[]>();
  const names = new Set<string>();
  const register = ({ workflow, name }: WorkflowSpec): void => {
    names.add(name);
    namesByWorkflow.set(workflow, [...(namesByWorkflow.get(workflow) ?? []), name]);
  };
  for (const workflow of workflows) register(workflow);
  const known = new Map<string, readonly string[]>();
  let changed = false;
  // Workflows that were added may have dependencies themselves, so the list grows while it is walked.
  for (let index = 0; index < workflows.length; index += 1) {
    const workflow = workflows[index] as WorkflowSpec;
    const wanted = known.get(workflow.workflow) ?? (await dependsOnOf(workflow));
    known.set(workflow.workflow, wanted);
    const dependsOn = new Set(workflow.dependsOn);
    for (const registered of wanted) {
      if (!namesByWorkflow.has(registered)) {
        if (workflows.length >= WORKFLOWS_MAX_COUNT) {
          throw new InvalidInputError(
            "workflows",
            `${workflows.length + 1} workflows with the dependencies of ${workflow.workflow}`,
            `at most ${WORKFLOWS_MAX_COUNT}`,
          );
        }
        const added = addedWorkflow(jobId, registered, workflow, names);
        workflows.push(added);
        register(added);
      }
      for (const name of namesByWorkflow.get(registered) ?? []) dependsOn.add(name);
    }
    if (dependsOn.size !== workflow.dependsOn.length) {
      workflows[index] = { ...workflow, dependsOn: [...dependsOn] };
      changed = true;
    }
  }
  return changed || workflows.length !== spec.workflows.length ? { ...spec, workflows } : spec;
};

const addedWorkflow = (
  jobId: string,
  registered: string,
  dependent: WorkflowSpec,
  taken: ReadonlySet<string>,
): WorkflowSpec => {
  let name = registered;
  for (let suffix = 2; taken.has(name); suffix += 1) name = `${registered}-${suffix}`;
  const digest = createHash("sha256")
    .update(JSON.stringify([jobId, registered]))
    .digest("hex");
  return {
    id: `wf-${digest.slice(0, 16)}`,
    name,
    workflow: registered,
    input: dependent.input,
    dependsOn: [],
    priority: dependent.priority,
  };
};
