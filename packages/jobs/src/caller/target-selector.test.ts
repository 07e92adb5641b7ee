import { describe, expect, it } from "vitest";
import { TargetSelector } from "./target-selector.ts";

const selector = (gates: string[], managers: string[], startAt = 0) =>
  new TargetSelector({ gates, managers, startAt });

describe("TargetSelector", () => {
  it("rotates through gates and managers independently, evenly, and has none of an empty list", () => {
    const two = selector(["a", "b"], ["m"]);
    const counts: Record<string, number> = {};
    for (let pick = 0; pick < 100; pick += 1) {
      const gate = two.nextGate() as string;
      counts[gate] = (counts[gate] ?? 0) + 1;
    }
    expect(counts).toEqual({ a: 50, b: 50 });
    expect([two.nextManager(), two.nextManager()]).toEqual(["m", "m"]);
    const empty = selector([], []);
    expect([empty.nextGate(), empty.nextManager(), empty.targets()]).toEqual([undefined, undefined, []]);
  });

  it("lists gates, then managers, each once", () => {
    expect(selector(["a", "b"], ["m", "a"]).all()).toEqual(["a", "b", "m"]);
    expect(selector(["a", "b"], ["m"]).targets()).toEqual(["a", "b", "m"]);
    expect(selector(["a", "b", "c"], ["m"], 4).targets()).toEqual(["b", "c", "a", "m"]);
  });

  it("asks a job's own node first, also one that is not configured, and forgets it when it fails", () => {
    const one = selector(["a", "b"], ["m"]);
    one.succeeded("x", "job");
    expect(one.targets("job")).toEqual(["x", "a", "b", "m"]);
    expect(one.targets("other")).toEqual(["a", "b", "m"]);
    one.succeeded("m", "job");
    expect(one.targets("job")).toEqual(["m", "a", "b"]);
    one.failed("m", "job");
    expect(one.targets("job")).toEqual(["a", "b", "m"]);
    one.succeeded("b", "job");
    one.forget("job");
    expect(one.targets("job")).toEqual(["b", "a", "m"]);
  });

  it("keeps to the node that answered and turns to the next when it fails", () => {
    const three = selector(["a", "b", "c"], []);
    three.failed("a");
    expect(three.targets()).toEqual(["b", "c", "a"]);
    three.succeeded("c");
    expect(three.targets()).toEqual(["c", "a", "b"]);
    three.failed("b");
    expect(three.targets()).toEqual(["c", "a", "b"]);
  });

  it("turns from a node whose connection was lost, also for its jobs, until it answers again", () => {
    const three = selector(["a", "b"], ["m"]);
    three.succeeded("a", "job");
    three.succeeded("x", "elsewhere");
    three.lost("a");
    expect(three.targets("job")).toEqual(["b", "a", "m"]);
    expect(three.targets()).toEqual(["b", "a", "m"]);
    three.lost("x");
    expect(three.targets("elsewhere")).toEqual(["x", "b", "a", "m"]);
    three.succeeded("a", "other");
    expect(three.targets("job")).toEqual(["a", "b", "m"]);
  });

  it("takes managers that became known later", () => {
    const one = selector([], ["m"]);
    one.setManagers(["m", "n"]);
    expect(one.targets()).toEqual(["m", "n"]);
    one.failed("m");
    one.setManagers(["m"]);
    expect(one.targets()).toEqual(["m"]);
  });

  it("remembers the last ten thousand jobs", () => {
    const one = selector(["a"], []);
    for (let index = 0; index <= 10_000; index += 1) one.succeeded("x", `job-${index}`);
    expect(one.targets("job-0")).toEqual(["a"]);
    expect(one.targets("job-1")).toEqual(["x", "a"]);
  });
});
