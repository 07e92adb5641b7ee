import { emptyProjection, projectEvent } from "@holdfast/jobs/projection";
import type { JobEvent } from "@holdfast/protocol/contract";
import { expect, it } from "vitest";
import { renderLiveView } from "./live-view.ts";
import { renderPlainLine } from "./plain-lines.ts";

const log: JobEvent = {
  type: "log",
  at: 0,
  workflowId: "wf-1",
  shard: 0,
  worker: "w",
  level: "info",
  message: `first\nsecond\u001b[2J${"x".repeat(500)}`,
};

it("shows what a workflow logged on one line, whatever is in it", () => {
  expect(renderPlainLine(log, new Map())).toMatch(/^\P{Cc}*first second/u);
});

it("keeps each line of the live screen within its width", () => {
  const lines = renderLiveView(projectEvent(emptyProjection, log), {
    jobId: "job-1",
    now: 0,
    width: 80,
    connected: true,
    style: (_format, text) => text,
  });
  for (const line of lines) expect(line).toMatch(/^\P{Cc}{0,80}$/u);
});
