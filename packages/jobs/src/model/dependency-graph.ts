import { InvalidInputError } from "@holdfast/kernel";

/** What the graph needs of a workflow. */
export interface GraphNode {
  readonly id: string;
  readonly name: string;
  readonly dependsOn: readonly string[];
}

/** Which workflows of a job wait for which, by index into the job's list. Checked: no cycle, no unknown name. */
export interface DependencyGraph {
  /** Direct dependencies of each workflow. */
  readonly dependencies: readonly (readonly number[])[];
  /** Workflows that name each workflow directly. */
  readonly dependents: readonly (readonly number[])[];
}

/**
 * @throws InvalidInputError for two workflows with one name or id, a dependency on a name that the job lacks
 * or on itself, and a cycle (the message shows it as `a -> b -> a`).
 */
export const dependencyGraph = (workflows: readonly GraphNode[]): DependencyGraph => {
  const indexByName = new Map<string, number>();
  const ids = new Set<string>();
  workflows.forEach(({ id, name }, index) => {
    if (indexByName.has(name)) {
      throw new InvalidInputError(`workflows[${index}].name`, name, "unique within the job");
    }
    if (ids.has(id)) throw new InvalidInputError(`workflows[${index}].id`, id, "unique within the job");
    indexByName.set(name, index);
    ids.add(id);
  });
  const dependents: number[][] = workflows.map(() => []);
  const dependencies = workflows.map(({ dependsOn }, index) => {
    const found = new Set<number>();
    dependsOn.forEach((name, place) => {
      const target = indexByName.get(name);
      if (target === undefined) {
        const known = workflows.slice(0, 20).map((workflow) => workflow.name);
        throw new InvalidInputError(
          `workflows[${index}].dependsOn[${place}]`,
          name,
          `the name of a workflow of this job (${known.join(", ")})`,
        );
      }
      found.add(target);
    });
    for (const target of found) dependents[target]?.push(index);
    return [...found];
  });
  const graph = { dependencies, dependents };
  refuseCycles(workflows, graph);
  return graph;
};

/** All that depend on the workflow, directly or through others; without itself, in ascending order. */
export const transitiveDependents = (graph: DependencyGraph, index: number): readonly number[] => {
  const found = new Set<number>();
  const open = [index];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    for (const dependent of graph.dependents[next] ?? []) {
      if (found.has(dependent)) continue;
      found.add(dependent);
      open.push(dependent);
    }
  }
  return [...found].sort((a, b) => a - b);
};

/** Kahn's algorithm: what cannot be put in order lies on a cycle or behind one. */
const refuseCycles = (workflows: readonly GraphNode[], graph: DependencyGraph): void => {
  const waitingFor = graph.dependencies.map((targets) => targets.length);
  const ready = waitingFor.flatMap((count, index) => (count === 0 ? [index] : []));
  let orderedCount = 0;
  for (let next = ready.pop(); next !== undefined; next = ready.pop()) {
    orderedCount += 1;
    for (const dependent of graph.dependents[next] ?? []) {
      const left = (waitingFor[dependent] ?? 0) - 1;
      waitingFor[dependent] = left;
      if (left === 0) ready.push(dependent);
    }
  }
  if (orderedCount === workflows.length) return;
  const start = waitingFor.findIndex((count) => count > 0);
  const path = findCycle(graph, waitingFor, start).map((index) => workflows[index]?.name ?? "");
  throw new InvalidInputError("workflows.dependsOn", path.join(" -> "), "free of cycles");
};

/** Follows dependencies that are still waited for until a workflow comes twice. */
const findCycle = (
  graph: DependencyGraph,
  waitingFor: readonly number[],
  start: number,
): readonly number[] => {
  const path: number[] = [];
  let index = start;
  while (!path.includes(index)) {
    path.push(index);
    index = graph.dependencies[index]?.find((target) => (waitingFor[target] ?? 0) > 0) ?? start;
  }
  return [...path.slice(path.indexOf(index)), index];
};
