import { availableParallelism, cpus, loadavg } from "node:os";
import { expect, TestRunner } from "vitest";

/** A figure that depends on the machine, with what it was held to and where it was measured. */
export interface Figure {
  readonly what: string;
  readonly value: number;
  readonly unit: string;
  readonly below?: number;
  readonly atLeast?: number;
  /** Cores, processor, load of the last minute, Node, and what `on` named. */
  readonly environment: string;
}

export interface FigureBound {
  readonly unit: string;
  /** The figure must be smaller. */
  readonly below?: number;
  /** The figure must not be smaller. */
  readonly atLeast?: number;
  /** What was measured besides this process: servers with their versions. */
  readonly on?: readonly string[];
}

declare module "vitest" {
  interface TaskMeta {
    figures?: Figure[];
  }
}

/**
 * Expects a measured figure to keep its bound, and says in the failure on what machine, under what load and against
 * which servers it was measured. Kept or not, the figure is recorded with the test (`meta.figures`), where reporters
 * find it: `npm test` lists them all.
 *
 * @param what what was measured, for people: "the nearest ten of 1,000".
 */
export const expectFigure = (what: string, value: number, bound: FigureBound): void => {
  const { on = [], ...rest } = bound;
  const environment = [...machine(), ...on].join(", ");
  const figure: Figure = { what, value, ...rest, environment };
  const test = TestRunner.getCurrentTest();
  if (test !== undefined) test.meta.figures = [...(test.meta.figures ?? []), figure];
  const message = `${what}, measured on ${environment}, in ${bound.unit}`;
  if (bound.below !== undefined) expect(value, message).toBeLessThan(bound.below);
  if (bound.atLeast !== undefined) expect(value, message).toBeGreaterThanOrEqual(bound.atLeast);
};

const machine = (): readonly string[] => [
  `${availableParallelism()} cores of ${cpus()[0]?.model.trim() || "an unknown processor"}`,
  `load ${(loadavg()[0] ?? 0).toFixed(1)}`,
  `Node ${process.versions.node}`,
];
