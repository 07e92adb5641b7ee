import { expect, it } from "vitest";

interface Judgement {
  readonly part: string;
  readonly percent: number;
  readonly goal: number;
  readonly isReached: boolean;
}
type Judge = (
  name: string,
  files: readonly { path: string; lines: { total: number; covered: number } }[],
) => readonly Judgement[];

// Plain JavaScript without types, because it also runs before anything is installed.
const url = new URL("./coverage-goals.mjs", import.meta.url).href;
const { PACKAGES, NAMES, judgeCoverage } = (await import(/* @vite-ignore */ url)) as unknown as {
  PACKAGES: readonly string[];
  NAMES: readonly string[];
  judgeCoverage: Judge;
};
const file = (path: string, covered: number) => ({ path, lines: { total: 100, covered } });

it("wants 80 % of every package, 85 % of pools, retries and locks, 90 % of the event bus, and 95 % of the client of jobs", () => {
  const goals = NAMES.flatMap((name) => judgeCoverage(name, []).map(({ part, goal }) => [part, goal]));
  expect(Object.fromEntries(goals)).toEqual({
    ...Object.fromEntries(PACKAGES.map((name) => [name, 80])),
    "connection/src/pool": 85,
    "data/src/postgres": 85,
    "resilience/src/retry": 85,
    "coordination/src/lock": 85,
    "coordination/src/event-bus": 90,
    "jobs-client": 95,
  });
});

it("holds a part to its goal also where its package as a whole has enough, and takes nothing that was not measured", () => {
  const files = [
    file("coordination/src/queue/a.ts", 100),
    file("coordination/src/lock/a.ts", 85),
    file("coordination/src/event-bus/a.ts", 89),
  ];
  const reached = (name: string, some: typeof files) =>
    judgeCoverage(name, some).map(({ part, isReached }) => [part, isReached]);
  expect(reached("coordination", files)).toEqual([
    ["coordination", true],
    ["coordination/src/lock", true],
    ["coordination/src/event-bus", false],
  ]);
  expect(reached("live", [file("live/src/a.ts", 79)])).toEqual([["live", false]]);
  expect(reached("live", [])).toEqual([["live", false]]);
});
