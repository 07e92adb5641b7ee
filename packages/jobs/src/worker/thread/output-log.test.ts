import { PassThrough } from "node:stream";
import type { Logger } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import { logOutput } from "./output-log.ts";

const setUp = () => {
  const clock = new VirtualClock();
  const lines: string[] = [];
  const warnings: object[] = [];
  const logger: Logger = {
    debug: () => undefined,
    info: (_fields, message) => lines.push(message),
    warn: (fields) => warnings.push(fields),
    error: () => undefined,
    child: () => logger,
  };
  const stream = new PassThrough();
  logOutput(stream, { name: "stdout", clock, logger });
  return { clock, lines, warnings, stream };
};

describe("what a workflow prints", () => {
  it("is logged by whole lines, however it is cut", async () => {
    const { clock, lines, stream } = setUp();
    for (const piece of ["one\ntw", "o\nthr", "ee\nunfinished"]) stream.write(piece);
    await clock.advance(0);
    expect(lines).toEqual(["one", "two", "three"]);
  });

  it("is bounded per second, and the rest is counted", async () => {
    const { clock, lines, warnings, stream } = setUp();
    await clock.advance(1_000);
    stream.write("line\n".repeat(1_000));
    await clock.advance(1_000);
    stream.write("later\n");
    await clock.advance(0);
    expect(lines.length).toBe(201);
    expect(warnings).toEqual([{ stream: "stdout", droppedCount: 800 }]);
  });

  it("is shortened by line", async () => {
    const { clock, lines, stream } = setUp();
    stream.write(`${"x".repeat(100_000)}\n`);
    await clock.advance(0);
    expect(lines[0]?.length).toBe(4_096);
  });
});
