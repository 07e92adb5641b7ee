import { TimeoutError } from "@holdfast/kernel";
import type { ClusterView, DatacenterView } from "@holdfast/protocol/contract";
import { describe, expect, it } from "vitest";
import { emptyCluster, setUp } from "./fixture.ts";

const away = new TimeoutError("a question to the store", 5_000);

/** A cluster whose answers the test says. */
const watchCluster = async (first: () => Promise<ClusterView>) => {
  const script = { answer: first };
  const server = await setUp({ cluster: () => script.answer() });
  const page = await server.open();
  await page.answer(page.subscribe("cluster"));
  return { server, page, script, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
};

describe("a page that follows a state", () => {
  it("is told since when it is old while nobody answers, and gets the state when somebody does, changed or not", async () => {
    await using watched = await watchCluster(async () => emptyCluster);
    const { server, page, script } = watched;
    await page.expect("cluster", [{ event: "state" }]);
    await server.clock.advance(1_000);
    const seenAt = server.clock.wallNow();
    script.answer = () => Promise.reject(away);
    await server.clock.advance(5_000);
    const stale = {
      event: "stale",
      payload: { seenAt, message: away.message, state: { activeJobs: 0 } },
    };
    // Once, not with each look.
    await page.expect("cluster", [{ event: "state" }, stale]);
    const later = await server.open();
    later.subscribe("cluster");
    await later.expect("cluster", [stale]);
    script.answer = async () => emptyCluster;
    await server.clock.advance(1_000);
    await page.expect("cluster", [{}, {}, { event: "state", payload: { activeJobs: 0 } }]);
    await later.expect("cluster", [{}, { event: "state" }]);
    expect(page.events("cluster")).toHaveLength(3);
  });

  it("is told that nothing was seen yet when nobody has answered, and no secret of what failed", async () => {
    await using watched = await watchCluster(() => Promise.reject(new Error("password=hunter2")));
    await watched.page.expect("cluster", [
      { event: "stale", payload: { seenAt: null, state: null, message: "an unexpected failure" } },
    ]);
  });

  it("is told after three seconds that an answer is slow, and gets it when it comes", async () => {
    await using watched = await watchCluster(async () => emptyCluster);
    const { server, page, script } = watched;
    await page.expect("cluster", [{}]);
    let answer: (view: ClusterView) => void = () => undefined;
    script.answer = () => new Promise((resolve) => (answer = resolve));
    await server.clock.advance(3_500);
    expect(page.events("cluster")).toHaveLength(1);
    await server.clock.advance(500);
    await page.expect("cluster", [{}, { event: "stale", payload: { message: "no answer for 3 s" } }]);
    answer({ ...emptyCluster, activeJobs: 2 });
    await page.expect("cluster", [{}, {}, { event: "state", payload: { activeJobs: 2 } }]);
  });

  it("does not wait for an answer without end: another look begins after fifteen seconds", async () => {
    await using watched = await watchCluster(() => new Promise(() => undefined));
    const { server, page, script } = watched;
    await server.clock.advance(3_000);
    await page.expect("cluster", [{ event: "stale" }]);
    script.answer = async () => emptyCluster;
    await server.clock.advance(13_000);
    await page.expect("cluster", [{}, {}, { event: "state" }]);
  });

  it("is told which datacenters are silent, and when the gate heard each of them last", async () => {
    const east = (state: "active" | "offline"): DatacenterView => ({
      datacenter: "east",
      health: state === "active" ? "healthy" : "unhealthy",
      managers: [{ nodeId: "m-1", address: "127.0.0.1:7411", state, isLeader: true }],
      workers: [],
      totalCores: 0,
      availableCores: 0,
      activeJobs: 0,
      pendingTasks: 0,
      workflows: [],
    });
    const west = { ...east("offline"), datacenter: "west" };
    await using watched = await watchCluster(async () => ({
      ...emptyCluster,
      datacenters: [east("active"), west],
    }));
    const { server, page, script } = watched;
    const neverHeard = { datacenter: "west", heardAt: null };
    await page.expect("cluster", [{ payload: { silent: [neverHeard] } }]);
    const heardAt = server.clock.wallNow() - 5_000;
    script.answer = async () => ({ ...emptyCluster, datacenters: [{ ...east("offline"), heardAt }, west] });
    await server.clock.advance(2_000);
    await page.expect("cluster", [
      {},
      { payload: { silent: [{ datacenter: "east", heardAt }, neverHeard] } },
    ]);
    script.answer = async () => ({ ...emptyCluster, datacenters: [east("active")] });
    await server.clock.advance(1_000);
    await page.expect("cluster", [{}, {}, { payload: { silent: [] } }]);
  });
});
