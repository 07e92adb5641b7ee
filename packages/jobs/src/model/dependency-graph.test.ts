import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { dependencyGraph, transitiveDependents } from "./dependency-graph.ts";

const node = (name: string, ...dependsOn: string[]) => ({ id: `wf-${name}`, name, dependsOn });

describe("a dependency graph", () => {
  it("knows dependencies and dependents of each workflow", () => {
    const graph = dependencyGraph([node("a"), node("b", "a"), node("c", "a", "b", "a")]);
    expect(graph.dependencies).toEqual([[], [0], [0, 1]]);
    expect(graph.dependents).toEqual([[1, 2], [2], []]);
  });

  it("follows dependents through diamonds once each", () => {
    const graph = dependencyGraph([
      node("a"),
      node("b", "a"),
      node("c", "a"),
      node("d", "b", "c"),
      node("e"),
    ]);
    expect(transitiveDependents(graph, 0)).toEqual([1, 2, 3]);
    expect(transitiveDependents(graph, 3)).toEqual([]);
  });

  it("shows the cycle that it refuses, without what merely leads into it", () => {
    expect(() => dependencyGraph([node("in", "a"), node("a", "b"), node("b", "a"), node("free")])).toThrow(
      /free of cycles; got "(a -> b -> a|b -> a -> b)"/,
    );
  });

  it("accepts a graph exactly when it has an order", () => {
    fc.assert(
      fc.property(
        fc.array(fc.array(fc.nat(7), { maxLength: 3 }), { minLength: 1, maxLength: 8 }),
        (lists) => {
          const edges = lists.map((targets) => targets.map((target) => target % lists.length));
          const workflows = edges.map((targets, index) => node(`n${index}`, ...targets.map((t) => `n${t}`)));
          const reaches = (from: number, to: number, seen = new Set<number>()): boolean =>
            (edges[from] ?? []).some(
              (next) => next === to || (!seen.has(next) && reaches(next, to, seen.add(next))),
            );
          const hasCycle = edges.some((_, index) => reaches(index, index));
          if (hasCycle) expect(() => dependencyGraph(workflows)).toThrow(/free of cycles/);
          else expect(dependencyGraph(workflows).dependencies).toHaveLength(lists.length);
        },
      ),
    );
  });
});
