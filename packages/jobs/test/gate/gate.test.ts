import type { JobEvent, JobResult } from "@holdfast/protocol/contract";
import { describe, expect, it } from "vitest";
import type { JobsClient } from "../../src/client/index.ts";
import type { Gate } from "../../src/gate/index.ts";
import { settle } from "../settle.ts";
import { setup } from "./gate-setup.ts";

const collect = (client: JobsClient, jobId: string) => {
  const positions: bigint[] = [];
  const events: JobEvent[] = [];
  const connection: string[] = [];
  const done = (async () => {
    for await (const item of client.watch(jobId)) {
      if (item.kind === "event") {
        positions.push(BigInt(item.position.offset));
        events.push(item.event);
      } else if (item.kind === "connection") connection.push(item.state);
      else connection.push(`reset ${item.reason}`);
    }
  })();
  done.catch(() => undefined);
  return { positions, events, connection, done };
};

/** 1, 2, 3 … without gap or repeat. */
const expectWhole = (positions: readonly bigint[]) => {
  expect(positions).toEqual(positions.map((_, index) => BigInt(index + 1)));
};

const kinds = (events: readonly JobEvent[]) =>
  events.map((event) => `${event.type}${event.type === "job.status" ? `:${event.status}` : ""}`);

describe("a job in one datacenter", () => {
  it("goes from submission to its merged result, and its log says all of it in order", async () => {
    await using t = await setup();
    const job = await t.submit({ name: "first", labels: { team: "a" } });
    expect(job).toMatchObject({ status: "submitted", duplicate: false, position: { offset: "0" } });
    const watch = collect(t.client, job.jobId);
    await t.clock.advance(100);
    await t.east.run(job.jobId);
    await t.east.window(job.jobId, 40, { units: 4 });
    await t.clock.advance(100);
    expect(await settle(t.clock, t.client.get(job.jobId))).toMatchObject({
      status: "running",
      progress: { done: 40, total: 100 },
      fraction: 0.4,
      leader: { nodeId: "gate-0", fence: "1" },
      datacenters: { east: { status: "running", leader: { nodeId: "east-m0:7411" } } },
      workflows: [{ status: "running", totals: { counters: { units: 4 } } }],
      labels: { team: "a" },
    });
    await t.east.end(job.jobId, "completed");
    const result = await t.result(job.jobId);
    expect(result).toMatchObject({
      status: "completed",
      name: "first",
      datacenters: { east: { status: "completed", elapsedMs: 100 } },
      workflows: [{ status: "completed", totals: { counters: { units: 10 } }, outputs: ["east"] }],
      errors: [],
    });
    await settle(t.clock, watch.done);
    expectWhole(watch.positions);
    expect(kinds(watch.events)).toEqual([
      "job.status:submitted",
      "job.leader",
      "job.placement",
      "job.status:dispatching",
      "job.status:submitted",
      "job.leader",
      "job.status:running",
      "job.status:running",
      "window",
      "workflow.result",
      "job.status:completed",
      "job.status:completed",
      "job.result",
    ]);
    expect(await settle(t.clock, t.client.get(job.jobId))).toMatchObject({
      status: "completed",
      fraction: 1,
      progress: { done: 40 },
      workflows: [{ status: "completed", totals: { counters: { units: 10 } } }],
    });
    const { jobs } = await settle(t.clock, t.client.list());
    expect(jobs).toMatchObject([
      { jobId: job.jobId, status: "completed", name: "first", datacenters: ["east"] },
    ]);
    // Long after, from the store alone.
    expect(await t.result(job.jobId, t.newClient())).toEqual(result);
  });

  it("passes the gate's fence to the datacenter, the ids of the client, and workflows that are depended on", async () => {
    await using t = await setup();
    t.east.workflows = ["late", "w"];
    await t.clock.advance(1_500);
    const { jobId } = await t.submit({ workflows: [{ workflow: "late", input: { a: 1 } }] });
    await t.clock.advance(100);
    const [sent] = t.east.submissions;
    expect(sent?.gate).toEqual({ nodeId: "gate-0", address: "gate-0:7401", fence: "1" });
    expect(sent?.jobId).toBe(jobId);
    expect(sent?.spec.workflows.map(({ workflow }) => workflow)).toEqual(["late", "w"]);
    expect(sent?.spec.workflows[0]?.dependsOn).toEqual(["w"]);
  });

  it("finds the datacenter's leader through a redirect, and follows on when a manager dies", async () => {
    await using t = await setup({ managers: 2 });
    t.east.leader = t.east.managers[1];
    const { jobId } = await t.submit();
    const watch = collect(t.client, jobId);
    await t.clock.advance(100);
    await t.east.run(jobId);
    await t.east.window(jobId, 1);
    await t.clock.advance(100);
    t.east.leader = t.east.managers[0];
    await settle(t.clock, (t.east.managers[1] as (typeof t.east.managers)[1]).kill());
    await t.east.window(jobId, 2);
    await t.clock.advance(3_000);
    await t.east.end(jobId, "completed");
    expect(await t.result(jobId)).toMatchObject({ status: "completed" });
    await settle(t.clock, watch.done);
    expectWhole(watch.positions);
    expect(watch.events.filter(({ type }) => type === "window").length).toBe(2);
  });

  it("answers a lost acknowledgement of the datacenter by sending again, and the job runs once", async () => {
    await using t = await setup();
    let isLost = true;
    t.east.afterSubmit = async () => {
      if (isLost) await t.clock.sleep(6_000);
      isLost = false;
    };
    const { jobId } = await t.submit();
    await t.clock.advance(10_000);
    expect(t.east.submissions.length).toBeGreaterThan(1);
    expect(t.east.jobs.size).toBe(1);
    await t.east.run(jobId);
    await t.east.end(jobId, "completed");
    expect(await t.result(jobId)).toMatchObject({ status: "completed" });
  });

  it("reports a job that the datacenter finally refuses as failed, with the reason", async () => {
    await using t = await setup();
    t.east.onSubmit = async () => {
      throw Object.assign(new Error("no such thing"), {});
    };
    const { jobId } = await t.submit();
    const result = await t.result(jobId);
    expect(result).toMatchObject({ status: "failed" });
    expect(result.errors[0]).toMatch(/^east: .*no such thing/);
  });
});

describe("a job in two datacenters", () => {
  const both = { datacenters: ["east", "west"] };

  it("sums what both did and reports each part", async () => {
    await using t = await setup(both);
    const { jobId } = await t.submit({ datacenters: ["east", "west"] });
    await t.clock.advance(100);
    for (const dc of t.datacenters) await dc.run(jobId);
    await t.east.window(jobId, 30);
    await t.west.window(jobId, 50);
    await t.clock.advance(100);
    expect(await settle(t.clock, t.client.get(jobId))).toMatchObject({
      progress: { done: 80, total: 200 },
      fraction: 0.4,
    });
    await t.west.end(jobId, "completed", { workflow: { elapsedMs: 300 } });
    await t.clock.advance(1_000);
    expect(await settle(t.clock, t.client.get(jobId))).toMatchObject({ status: "running" });
    await t.east.end(jobId, "completed");
    const result = await t.result(jobId);
    expect(result).toMatchObject({
      status: "completed",
      datacenters: { east: { status: "completed" }, west: { status: "completed" } },
      workflows: [
        {
          status: "completed",
          totals: { counters: { units: 20 } },
          shards: { total: 4, completed: 4 },
          elapsedMs: 300,
          outputs: ["east", "west"],
          datacenters: {
            east: { totals: { counters: { units: 10 } } },
            west: { totals: { counters: { units: 10 } } },
          },
        },
      ],
    });
    const merged = (await t.history(jobId)).filter(({ type }) => type === "workflow.result");
    expect(merged.map(({ datacenter }) => datacenter)).toEqual(["west", "east", undefined]);
  });

  it("cancels the others when one fails and all are required", async () => {
    await using t = await setup(both);
    const { jobId } = await t.submit({ datacenterCount: 2 });
    await t.clock.advance(100);
    for (const dc of t.datacenters) await dc.run(jobId);
    await t.east.end(jobId, "failed", { errors: ["disk full"] });
    const result = await t.result(jobId);
    expect(t.west.cancellations).toEqual([jobId]);
    expect(result).toMatchObject({
      status: "failed",
      datacenters: { east: { status: "failed" }, west: { status: "cancelled" } },
    });
    expect(result.errors).toContain("east: disk full");
  });

  it("ends partial when one fails and part of it is enough", async () => {
    await using t = await setup(both);
    const { jobId } = await t.submit({ datacenterCount: 2, policy: "allow-partial" });
    await t.clock.advance(100);
    for (const dc of t.datacenters) await dc.run(jobId);
    await t.east.end(jobId, "failed", { errors: ["disk full"] });
    await t.clock.advance(5_000);
    await t.west.end(jobId, "completed");
    expect(await t.result(jobId)).toMatchObject({ status: "partial", errors: ["east: disk full"] });
    expect(t.west.cancellations).toEqual([]);
  });

  it("uses another datacenter when the first is down, and never both", async () => {
    await using t = await setup(both);
    t.east.onSubmit = async () => {
      await settle(t.clock, Promise.resolve());
    };
    const { jobId } = await t.submit({ datacenters: ["east"], datacenterCount: 1 });
    await t.clock.advance(200);
    expect(t.east.jobs.size + t.west.jobs.size).toBe(1);
    // East dies before the next job reaches it, and before anybody has noticed.
    for (const manager of t.east.managers) await settle(t.clock, manager.kill());
    const next = await t.submit({ datacenters: ["east"], datacenterCount: 1 }).catch((error) => error);
    if (next instanceof Error) expect(next).toMatchObject({ retryable: true });
    else {
      await t.clock.advance(10_000);
      expect(t.west.jobs.has(next.jobId)).toBe(true);
      const placements = (await t.history(next.jobId)).filter(({ type }) => type === "job.placement");
      expect(placements.at(-1)).toMatchObject({ datacenters: ["west"] });
    }
    expect(t.east.jobs.has(jobId)).toBe(true);
  });

  it("prefers the healthy, honours wishes, and refuses what nobody can take", async () => {
    await using t = await setup(both);
    t.east.availableCores = 0;
    await t.clock.advance(1_500);
    const { jobId } = await t.submit();
    await t.clock.advance(100);
    expect(t.west.jobs.has(jobId)).toBe(true);
    const wished = await t.submit({ datacenters: ["east"] });
    await t.clock.advance(100);
    expect(t.east.jobs.has(wished.jobId)).toBe(true);
    await expect(t.submit({ datacenters: ["mars"] })).rejects.toThrow(/mars/);
    t.east.workers = 0;
    t.west.workers = 0;
    await t.clock.advance(1_500);
    await expect(t.submit({ deadlineMs: 3_000 })).rejects.toMatchObject({ code: "JOBS_NO_DATACENTER" });
    const view = await settle(t.clock, t.client.cluster());
    expect(view.datacenters.map(({ health }) => health)).toEqual(["unhealthy", "unhealthy"]);
  });
});

describe("cancelling", () => {
  it("confirms when the datacenter has confirmed, and repeats without harm", async () => {
    await using t = await setup();
    let confirm: (() => Promise<void>) | undefined;
    t.east.onCancel = async (jobId) => {
      confirm = () => t.east.end(jobId, "cancelled");
    };
    const { jobId } = await t.submit();
    await t.clock.advance(100);
    await t.east.run(jobId);
    await t.clock.advance(100);
    const first = await settle(t.clock, t.client.cancel(jobId, { reason: "not needed" }));
    expect(first).toEqual({ outcome: "cancelling", status: "cancelling" });
    expect(await settle(t.clock, t.client.cancel(jobId))).toEqual(first);
    await t.clock.advance(1_000);
    expect(await settle(t.clock, t.client.get(jobId))).toMatchObject({ status: "cancelling" });
    await confirm?.();
    expect(await t.result(jobId)).toMatchObject({ status: "cancelled" });
    expect(await settle(t.clock, t.client.cancel(jobId))).toEqual({
      outcome: "already-cancelled",
      status: "cancelled",
    });
    expect(t.east.cancellations.length).toBe(1);
  });

  it("ends a job that never reached its datacenter, and it never does", async () => {
    await using t = await setup();
    const { jobId } = await t.submit({ workflows: [{ workflow: "w", input: { warm: true } }] });
    await t.clock.advance(100);
    for (const manager of t.east.managers) await settle(t.clock, manager.kill());
    const second = await t.submit({ workflows: [{ workflow: "w", input: { warm: true } }] });
    await settle(t.clock, t.client.cancel(second.jobId));
    expect(await t.result(second.jobId)).toMatchObject({ status: "cancelled" });
    for (const manager of t.east.managers) await manager.start();
    await t.clock.advance(10_000);
    expect(t.east.jobs.has(second.jobId)).toBe(false);
    await t.east.end(jobId, "completed");
    expect(await t.result(jobId)).toMatchObject({ status: "completed" });
  });

  it("does not call a job cancelled that its datacenter never confirmed", async () => {
    await using t = await setup({ gate: { endingGraceMs: 10_000 } });
    t.east.onCancel = async () => undefined;
    const { jobId } = await t.submit();
    await t.clock.advance(100);
    await t.east.run(jobId);
    await settle(t.clock, t.client.cancel(jobId));
    const result = await t.result(jobId);
    expect(result).toMatchObject({ status: "timeout", errors: ["east: missing final result"] });
  });

  it("says that a job has ended, or is not known", async () => {
    await using t = await setup();
    const { jobId } = await t.submit();
    await t.clock.advance(100);
    await t.east.end(jobId, "completed");
    await t.result(jobId);
    expect(await settle(t.clock, t.client.cancel(jobId))).toMatchObject({ outcome: "already-completed" });
    await expect(settle(t.clock, t.client.cancel("job-x"))).rejects.toMatchObject({ code: "JOBS_NOT_FOUND" });
  });
});

describe("timeouts", () => {
  it("ends a job that its datacenter does not end in time", async () => {
    await using t = await setup();
    const { jobId } = await t.submit({ timeoutMs: 5_000 });
    await t.clock.advance(100);
    await t.east.run(jobId);
    const result = await t.result(jobId);
    expect(t.east.cancellations).toEqual([jobId]);
    expect(result).toMatchObject({ status: "timeout", datacenters: { east: { status: "timeout" } } });
    expect(result.elapsedMs).toBeGreaterThanOrEqual(7_000);
    expect(result.elapsedMs).toBeLessThan(9_000);
  });
});

describe("submitting twice", () => {
  it("gives the same job at another gate, and refuses another payload", async () => {
    await using t = await setup({ gates: 2 });
    const at = (index: number) => t.newClient([`gate-${index}:7401`]);
    const [a, b] = [at(0), at(1)];
    const first = await t.submit({ idempotencyKey: "k" }, a);
    const second = await t.submit({ idempotencyKey: "k" }, b);
    expect(second).toMatchObject({ jobId: first.jobId, duplicate: true, position: first.position });
    await expect(
      t.submit({ idempotencyKey: "k", workflows: [{ workflow: "w", input: { a: 2 } }] }, b),
    ).rejects.toMatchObject({ code: "JOBS_IDEMPOTENCY_CONFLICT" });
    await t.clock.advance(500);
    expect(t.east.jobs.size).toBe(1);
    // Watched and cancelled at the gate that does not lead it.
    const watch = collect(b, first.jobId);
    await t.east.run(first.jobId);
    await t.clock.advance(2_000);
    expect((await settle(t.clock, b.get(first.jobId))).leader.nodeId).toBe("gate-0");
    await settle(t.clock, b.cancel(first.jobId));
    await settle(t.clock, watch.done);
    expectWhole(watch.positions);
    expect(await t.result(first.jobId, b)).toMatchObject({ status: "cancelled" });
  });

  it("stores a job once when the commit's answer is lost, and runs it", async () => {
    let lose = false;
    await using t = await setup({
      wrap: (store) => ({
        ...store,
        jobs: store.jobs,
        [Symbol.asyncDispose]: async () => undefined,
        coordination: new Proxy(store.coordination, {
          get: (target, key) => {
            if (key !== "transaction") {
              const value = Reflect.get(target, key, target);
              return typeof value === "function" ? value.bind(target) : value;
            }
            return async (body: never) => {
              const done = await target.transaction(body);
              if (lose) {
                lose = false;
                throw new Error("the connection broke during commit");
              }
              return done;
            };
          },
        }),
      }),
    });
    lose = true;
    const outcome = await t.submit({ idempotencyKey: "k" }).catch((error: unknown) => error);
    // The raw error is not retryable for the client; a program's own repeat finds the job.
    const again =
      outcome instanceof Error ? await t.submit({ idempotencyKey: "k" }) : (outcome as { jobId: string });
    await t.clock.advance(2_000);
    expect(t.east.jobs.size).toBe(1);
    lose = true;
    await t.east.run(again.jobId);
    await t.east.window(again.jobId, 1);
    await t.clock.advance(2_000);
    await t.east.window(again.jobId, 2);
    await t.east.end(again.jobId, "completed");
    expect(await t.result(again.jobId)).toMatchObject({ status: "completed" });
    const events = await t.history(again.jobId);
    expect(events.filter(({ type }) => type === "window").length).toBe(2);
    expect(events.filter(({ type }) => type === "job.result").length).toBe(1);
  });
});

describe("the death of the leading gate", () => {
  it("is survived: another one goes on under a larger fence, and the watch misses and repeats nothing", async () => {
    await using t = await setup({ gates: 2, datacenters: ["east", "west"] });
    const { jobId } = await t.submit({ datacenterCount: 2 });
    const watch = collect(t.client, jobId);
    await t.clock.advance(200);
    for (const dc of t.datacenters) await dc.run(jobId);
    await t.east.window(jobId, 10, { units: 1 });
    await t.west.workflowDone(jobId);
    await t.clock.advance(500);
    const before = await settle(t.clock, t.client.get(jobId));
    const victim = t.gates.find(({ nodeId }) => nodeId === before.leader.nodeId) as Gate;
    await settle(t.clock, victim.kill());
    // The datacenters go on meanwhile.
    await t.east.window(jobId, 20, { units: 1 });
    await t.clock.advance(8_000);
    const after = await settle(t.clock, t.client.get(jobId));
    expect(after.leader.nodeId).not.toBe(before.leader.nodeId);
    expect(BigInt(after.leader.fence)).toBeGreaterThan(BigInt(before.leader.fence));
    expect(after.progress.done).toBe(20);
    await t.east.window(jobId, 30, { units: 1 });
    await t.east.end(jobId, "completed");
    await t.west.end(jobId, "completed");
    const result = await t.result(jobId);
    expect(result).toMatchObject({
      status: "completed",
      workflows: [{ totals: { counters: { units: 20 } }, datacenters: { east: {}, west: {} } }],
    });
    await settle(t.clock, watch.done);
    expectWhole(watch.positions);
    expect(watch.connection).toEqual(["lost", "restored"]);
    const windows = watch.events.filter(({ type }) => type === "window");
    expect(windows.map((event) => (event.type === "window" ? event.progress.done : 0))).toEqual([10, 20, 30]);
    const leaders = watch.events.flatMap((event) =>
      event.type === "job.leader" && event.role === "gate" ? [event] : [],
    );
    expect(leaders.map(({ previous }) => previous)).toEqual([undefined, before.leader.nodeId]);
    expect(watch.events.filter(({ type }) => type === "job.result").length).toBe(1);
    // Both datacenters know the new gate.
    expect(t.east.jobs.size + t.west.jobs.size).toBe(2);
  });

  it("is survived by its next start when it is the only gate", async () => {
    await using t = await setup();
    const { jobId } = await t.submit();
    const watch = collect(t.client, jobId);
    await t.clock.advance(200);
    await t.east.run(jobId);
    await t.clock.advance(200);
    await settle(t.clock, t.gate.kill());
    await t.east.window(jobId, 10);
    await t.east.end(jobId, "completed");
    await t.clock.advance(1_000);
    t.gates.push(await t.startGate(0));
    expect(await t.result(jobId)).toMatchObject({ status: "completed" });
    await settle(t.clock, watch.done);
    expectWhole(watch.positions);
  });

  it("leaves a cancel standing", async () => {
    await using t = await setup({ gates: 2 });
    let confirmations = 0;
    t.east.onCancel = async (jobId) => {
      confirmations += 1;
      if (confirmations > 1) await t.east.end(jobId, "cancelled");
    };
    const { jobId } = await t.submit();
    await t.clock.advance(200);
    await t.east.run(jobId);
    await settle(t.clock, t.client.cancel(jobId));
    const { leader } = await settle(t.clock, t.client.get(jobId));
    await settle(t.clock, (t.gates.find(({ nodeId }) => nodeId === leader.nodeId) as Gate).kill());
    expect(await t.result(jobId)).toMatchObject({ status: "cancelled" });
  });

  it("is noticed soon even when the gate lived for a moment only", async () => {
    await using t = await setup({ gates: 2 });
    const { jobId } = await t.submit();
    const { leader } = await settle(t.clock, t.client.get(jobId));
    await settle(t.clock, (t.gates.find(({ nodeId }) => nodeId === leader.nodeId) as Gate).stop());
    await t.clock.advanceUntil(() => t.gates.some((gate) => gate.stats().takeOvers === 1), 6_500);
  });

  it("hands over at once when the gate is stopped in good order", async () => {
    await using t = await setup({ gates: 2 });
    const { jobId } = await t.submit();
    // Long enough that the gates have seen each other.
    await t.clock.advance(2_000);
    const { leader } = await settle(t.clock, t.client.get(jobId));
    await settle(t.clock, (t.gates.find(({ nodeId }) => nodeId === leader.nodeId) as Gate).stop());
    const stoppedAt = t.clock.monotonicNow();
    await t.clock.advanceUntil(() => t.gates.some((gate) => gate.stats().takeOvers === 1), 10_000);
    expect(t.clock.monotonicNow() - stoppedAt).toBeLessThan(1_500);
    await t.east.end(jobId, "completed");
    expect(await t.result(jobId)).toMatchObject({ status: "completed" });
  });
});

describe("a gate that is cut off from its store", () => {
  it("stops deciding, and what it still tries to write is refused", async () => {
    let isCut = false;
    const away = () => Promise.reject(Object.assign(new Error("the store is away"), { retryable: true }));
    await using t = await setup({
      gates: 2,
      wrap: (store, index) =>
        index !== 0
          ? store
          : {
              ...store,
              [Symbol.asyncDispose]: async () => undefined,
              jobs: store.jobs,
              coordination: new Proxy(store.coordination, {
                get: (target, key) => {
                  const value = Reflect.get(target, key, target);
                  if (key === "leases") {
                    return new Proxy(target.leases, {
                      get: (leases, name) => {
                        const call = Reflect.get(leases, name, leases);
                        if (typeof call !== "function") return call;
                        return (...args: unknown[]) => (isCut ? away() : call.apply(leases, args));
                      },
                    });
                  }
                  return typeof value === "function" ? value.bind(target) : value;
                },
              }),
            },
    });
    const first = t.newClient(["gate-0:7401"]);
    const { jobId } = await t.submit({}, first);
    await t.clock.advance(200);
    await t.east.run(jobId);
    isCut = true;
    const other = t.gates[1] as Gate;
    await t.clock.advanceUntil(() => other.stats().takeOvers === 1, 20_000);
    expect(t.gate.state).toBe("syncing");
    await t.clock.advanceUntil(() => t.gate.stats().ledJobs === 0, 2_000);
    await expect(t.submit({ deadlineMs: 1_000 }, first)).rejects.toMatchObject({ code: "JOBS_NOT_READY" });
    isCut = false;
    await t.clock.advance(3_000);
    expect(t.gate.state).toBe("active");
    await t.east.end(jobId, "completed");
    expect(await t.result(jobId, first)).toMatchObject({ status: "completed" });
    expect((await t.history(jobId)).filter(({ type }) => type === "job.result").length).toBe(1);
  });
});

describe("admission", () => {
  it("limits the submissions of one client, says how long to wait, and the client waits", async () => {
    await using t = await setup();
    const results: string[] = [];
    for (let index = 0; index < 50; index += 1) results.push((await t.submit()).jobId);
    const before = t.clock.monotonicNow();
    const last = await t.submit();
    expect(t.clock.monotonicNow() - before).toBeGreaterThan(5_000);
    expect(new Set([...results, last.jobId]).size).toBe(51);
    // Another client is not held up.
    const startedAt = t.clock.monotonicNow();
    await t.submit({}, t.newClient());
    expect(t.clock.monotonicNow() - startedAt).toBeLessThan(1_000);
  });

  it("answers that it is initializing until a datacenter has said how it is", async () => {
    await using t = await setup({ gates: 0 });
    for (const manager of t.east.managers) await settle(t.clock, manager.kill());
    t.gates.push(await t.startGate(0));
    const client = t.newClient(["gate-0:7401"]);
    await expect(t.submit({ deadlineMs: 1_000 }, client)).rejects.toMatchObject({ code: "JOBS_NOT_READY" });
    await t.clock.advance(6_000);
    await expect(t.submit({ deadlineMs: 1_000 }, client)).rejects.toMatchObject({
      code: "JOBS_NO_DATACENTER",
    });
    for (const manager of t.east.managers) await manager.start();
    const { jobId } = await t.submit({}, client);
    await t.clock.advance(200);
    expect(t.east.jobs.has(jobId)).toBe(true);
  });
});

it("forgets finished jobs and their logs after the retention time", async () => {
  await using t = await setup({ gate: { retention: { keepMs: 100_000, sweepEveryMs: 10_000 } } });
  const { jobId } = await t.submit();
  await t.clock.advance(100);
  await t.east.end(jobId, "completed");
  const result: JobResult = await t.result(jobId);
  expect(result.status).toBe("completed");
  await t.clock.advance(50_000);
  expect(await settle(t.clock, t.client.get(jobId))).toMatchObject({ status: "completed" });
  await t.clock.advance(70_000);
  await expect(settle(t.clock, t.client.get(jobId))).rejects.toMatchObject({ code: "JOBS_NOT_FOUND" });
  expect(await t.history(jobId)).toEqual([]);
});
