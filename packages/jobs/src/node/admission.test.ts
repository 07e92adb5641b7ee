import { createHandlers, type Peer } from "@holdfast/connection";
import { VirtualClock } from "@holdfast/kernel/testing";
import { cancelJob, getJob, listJobs, ping, submitJob } from "@holdfast/protocol/contract";
import type { OverloadLevel } from "@holdfast/resilience";
import { describe, expect, it } from "vitest";
import { Admission, type AdmissionOptions } from "./admission.ts";

const peer = (nodeId: string, role = "client"): Peer =>
  ({
    remote: { nodeId, role, version: "1.4", features: [], scopes: ["operate"], address: "10.0.0.1:5000" },
  }) as unknown as Peer;

const setup = (more: Partial<AdmissionOptions> = {}) => {
  const clock = new VirtualClock();
  const source: { level: OverloadLevel } = { level: "healthy" };
  return { clock, source, admission: new Admission({ clock, source, ...more }) };
};

describe("Admission", () => {
  it("limits each client and operation in a sliding window, and says how long to wait", async () => {
    const { clock, admission } = setup();
    for (let count = 0; count < 50; count += 1) expect(admission.admit(submitJob, peer("a"))).toBe(undefined);
    expect(admission.admit(submitJob, peer("a"))).toMatchObject({
      code: "JOBS_RATE_LIMITED",
      retryable: true,
      retryAfterMs: 10_000,
    });
    expect(admission.admit(getJob, peer("a"))).toBe(undefined);
    expect(admission.admit(submitJob, peer("b"))).toBe(undefined);
    for (let count = 0; count < 20; count += 1) expect(admission.admit(cancelJob, peer("a"))).toBe(undefined);
    expect(admission.admit(cancelJob, peer("a"))).toMatchObject({ retryable: true });
    await clock.advance(10_001);
    expect(admission.admit(submitJob, peer("a"))).toBe(undefined);
  });

  it("does not limit the nodes of the cluster, nor anybody when switched off", () => {
    const { admission } = setup();
    const open = setup({ limits: "off" });
    for (let count = 0; count < 500; count += 1) {
      expect(admission.admit(submitJob, peer("g", "gate"))).toBe(undefined);
      expect(open.admission.admit(submitJob, peer("a"))).toBe(undefined);
    }
  });

  it("sheds the less important first as the load rises, and never what is critical", () => {
    const { source, admission } = setup({ limits: "off" });
    const passes = (level: OverloadLevel) => {
      source.level = level;
      return [ping, submitJob, listJobs].map(
        (definition) => admission.admit(definition, peer("a")) === undefined,
      );
    };
    expect(passes("healthy")).toEqual([true, true, true]);
    expect(passes("busy")).toEqual([true, true, true]);
    expect(passes("stressed")).toEqual([true, true, false]);
    expect(passes("overloaded")).toEqual([true, false, false]);
  });

  it("lets every cancel pass under stress", () => {
    const { source, admission } = setup();
    source.level = "overloaded";
    for (let count = 0; count < 100; count += 1)
      expect(admission.admit(cancelJob, peer("a"))).toBe(undefined);
  });

  it("bounds the requests in progress by priority, critical ones not", async () => {
    const { admission } = setup({ limits: "off" });
    const handlers = createHandlers();
    const table = handlers as unknown as {
      request(name: string): { handler: (input: unknown, context: unknown) => Promise<unknown> };
    };
    const limited = admission.limited(handlers);
    let release: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    limited.onRequest(listJobs, async () => {
      await gate;
      return { jobs: [] };
    });
    limited.onRequest(ping, async () => {
      await gate;
      throw new Error("answered");
    });
    const call = (name: string) =>
      table
        .request(name)
        .handler({}, {})
        .catch((error: unknown) => error);
    const running = Array.from({ length: 300 }, () => call("jobs.list"));
    expect(await call("jobs.list")).toMatchObject({ code: "KERNEL_OVERLOADED", retryAfterMs: 500 });
    const pings = Array.from({ length: 2_000 }, () => call("cluster.ping"));
    release();
    expect(await Promise.all(running)).toHaveLength(300);
    for (const answer of await Promise.all(pings)) expect(String(answer)).toContain("answered");
    expect(await call("jobs.list")).toEqual({ jobs: [] });
  });
});
