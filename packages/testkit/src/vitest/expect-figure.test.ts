import { afterEach, expect, it } from "vitest";
import { expectFigure } from "./expect-figure.ts";

const environment = expect.stringMatching(/^\d+ cores of .+, load \d+\.\d, Node \d+\..+, PostgreSQL 99$/);

// They are no figures of the run.
afterEach(({ task }) => {
  delete task.meta.figures;
});

it("records a figure with its bound and with what it was measured on", ({ task }) => {
  expectFigure("a search", 12.5, { unit: "ms", below: 50, on: ["PostgreSQL 99"] });
  expectFigure("a gain", 2, { unit: "times", atLeast: 2 });
  expect(task.meta.figures).toEqual([
    { what: "a search", value: 12.5, unit: "ms", below: 50, environment },
    { what: "a gain", value: 2, unit: "times", atLeast: 2, environment: expect.any(String) },
  ]);
});

it("fails beyond the bound, saying on what machine, under what load and against which server", () => {
  const on = ["PostgreSQL 99"];
  const measured =
    /^a search, measured on \d+ cores of .+, load \d+\.\d, Node .+, PostgreSQL 99, in ms: expected 50/;
  expect(() => expectFigure("a search", 50, { unit: "ms", below: 50, on })).toThrow(measured);
  expect(() => expectFigure("a search", 50, { unit: "ms", atLeast: 51, on })).toThrow(measured);
});
