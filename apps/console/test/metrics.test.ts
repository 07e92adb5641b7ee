import perfHooks from "node:perf_hooks";
import { afterEach, expect, it, vi } from "vitest";
import { setUp } from "./fixture.ts";

afterEach(() => {
  vi.restoreAllMocks();
});

it("measures its process once, however many consoles it opens and closes", async () => {
  const watches = vi.spyOn(perfHooks, "monitorEventLoopDelay");
  const observers = vi.spyOn(perfHooks.PerformanceObserver.prototype, "observe");
  for (let count = 0; count < 3; count += 1) {
    await using server = await setUp();
    const text = await (await server.ask("/metrics")).text();
    expect(text).toMatch(/^process_cpu_seconds_total \d/m);
    expect(text.match(/^# TYPE holdfast_workers gauge$/gm)).toHaveLength(1);
  }
  // Each one that was begun goes on until the end of the process.
  expect(watches.mock.calls.length).toBeLessThanOrEqual(1);
  expect(observers.mock.calls.length).toBeLessThanOrEqual(1);
});
