import { type Logger, systemClock } from "@holdfast/kernel";
import type { JobResult, WorkflowResult } from "@holdfast/protocol/contract";
import { describe, expect, it } from "vitest";
import type { Reporter, WorkflowReport } from "./reporter.ts";
import { runReporter } from "./run-reporter.ts";

const report = {
  job: {} as JobResult,
  workflow: { name: "load" } as WorkflowResult,
} satisfies WorkflowReport;

type Part = "open" | "writeWorkflowResults" | "writeStepResults" | "close";

const run = async (failing: readonly Part[]) => {
  const called: Part[] = [];
  const logged: object[] = [];
  const logger: Logger = {
    debug: () => undefined,
    info: () => undefined,
    warn: () => undefined,
    error: (fields) => logged.push(fields),
    child: () => logger,
  };
  const part = async (name: Part): Promise<string> => {
    called.push(name);
    if (failing.includes(name)) throw new Error(`${name} is broken`);
    return `${name}.file`;
  };
  const reporter: Reporter = {
    type: "fake",
    open: async () => void (await part("open")),
    writeWorkflowResults: () => part("writeWorkflowResults"),
    writeStepResults: () => part("writeStepResults"),
    close: async () => void (await part("close")),
  };
  const outcome = await runReporter(reporter, report, { logger, clock: systemClock });
  return { called, logged, outcome };
};

describe("a reporter", () => {
  it("is opened, writes both results and is closed", async () => {
    const { called, logged, outcome } = await run([]);
    expect(called).toEqual(["open", "writeWorkflowResults", "writeStepResults", "close"]);
    expect(outcome).toMatchObject({
      type: "fake",
      workflow: "load",
      paths: ["writeWorkflowResults.file", "writeStepResults.file"],
      error: undefined,
    });
    expect(logged).toEqual([]);
  });

  it.each<[Part, readonly Part[]]>([
    ["open", ["open", "close"]],
    ["writeWorkflowResults", ["open", "writeWorkflowResults", "writeStepResults", "close"]],
    ["writeStepResults", ["open", "writeWorkflowResults", "writeStepResults", "close"]],
    ["close", ["open", "writeWorkflowResults", "writeStepResults", "close"]],
  ])("that fails to %s is closed, logged and told, and throws nothing", async (failing, expected) => {
    const { called, logged, outcome } = await run([failing]);
    expect(called).toEqual(expected);
    expect(outcome.error?.message).toContain(`${failing} is broken`);
    expect(logged).toMatchObject([{ reporter: "fake", workflow: "load" }]);
  });

  it("tells of every failure", async () => {
    const { outcome } = await run(["writeWorkflowResults", "writeStepResults", "close"]);
    expect(outcome.error?.message.split("; ").length).toBe(3);
  });
});
