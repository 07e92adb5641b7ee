import { describe, expect, it, vi } from "vitest";
import { deferred } from "./abort.ts";
import { silentLogger } from "./logger.ts";
import { TaskGroup } from "./task-group.ts";

const untilAborted = (signal: AbortSignal): Promise<void> =>
  new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });

describe("a task group", () => {
  it("starts its tasks at once, and stop waits until the last of them has ended", async () => {
    const group = new TaskGroup({ logger: silentLogger });
    const cleanUp = deferred<void>();
    const ended: string[] = [];
    group.spawn("quick", async (signal) => {
      await untilAborted(signal).catch(() => undefined);
      ended.push("quick");
    });
    group.spawn("slow", async (signal) => {
      await untilAborted(signal).catch(() => undefined);
      await cleanUp.promise;
      ended.push("slow");
    });
    expect(group.size).toBe(2);
    const stopping = group.stop("over").then(() => ended.push("stopped"));
    expect(group.signal.reason).toBe("over");
    await Promise.resolve();
    cleanUp.resolve();
    await stopping;
    expect(ended).toEqual(["quick", "slow", "stopped"]);
    expect(group.size).toBe(0);
  });

  it("reports a task that fails by its name, and leaves the others running", async () => {
    const onFailure = vi.fn();
    const group = new TaskGroup({ logger: silentLogger, onFailure });
    const failure = new Error("failed");
    group.spawn("failing", () => Promise.reject(failure));
    group.spawn("throwing", () => {
      throw failure;
    });
    group.spawn("other", untilAborted);
    await vi.waitFor(() => expect(group.size).toBe(1));
    expect(onFailure).toHaveBeenCalledTimes(2);
    expect(onFailure).toHaveBeenCalledWith("failing", failure);
    expect(onFailure).toHaveBeenCalledWith("throwing", failure);
    expect(group.signal.aborted).toBe(false);
    await group.stop();
  });

  it("logs a failure when nobody else is told", async () => {
    const error = vi.fn();
    const group = new TaskGroup({ logger: { ...silentLogger, error } });
    const failure = new Error("failed");
    group.spawn("sweep", () => Promise.reject(failure));
    await vi.waitFor(() => expect(error).toHaveBeenCalledTimes(1));
    expect(error).toHaveBeenCalledWith({ err: failure, task: "sweep" }, "background task sweep failed");
    await group.stop();
  });

  it("takes ending by its stop for no failure", async () => {
    const onFailure = vi.fn();
    const group = new TaskGroup({ logger: silentLogger, onFailure });
    group.spawn("loop", untilAborted);
    await group.stop();
    expect(onFailure).not.toHaveBeenCalled();
  });

  it("starts nothing after stop, which may be repeated", async () => {
    const group = new TaskGroup({ logger: silentLogger });
    await Promise.all([group.stop("first"), group.stop("second")]);
    const body = vi.fn(() => Promise.resolve());
    group.spawn("late", body);
    expect(body).not.toHaveBeenCalled();
    expect(group.signal.reason).toBe("first");
  });

  it("is stopped at the end of its scope", async () => {
    let signal: AbortSignal | undefined;
    {
      await using group = new TaskGroup({ logger: silentLogger });
      signal = group.signal;
      group.spawn("loop", untilAborted);
    }
    expect(signal.aborted).toBe(true);
  });

  it("outlives a report of a failure that throws: stop waits for the others and does not reject", async () => {
    const group = new TaskGroup({
      logger: silentLogger,
      onFailure: () => {
        throw new Error("the report failed");
      },
    });
    group.spawn("failing", () => Promise.reject(new Error("failed")));
    group.spawn("waiting", untilAborted);
    await vi.waitFor(() => expect(group.size).toBe(1));
    await expect(group.stop()).resolves.toBeUndefined();
  });
});
