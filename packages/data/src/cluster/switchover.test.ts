import { silentLogger } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import type { ClusterRouter } from "./cluster-database.ts";
import type { NodePool } from "./node-pools.ts";
import type { PatroniClient, SwitchoverRequest } from "./patroni-client.ts";
import { Switchover, type SwitchoverOptions } from "./switchover.ts";
import { WriteGate } from "./write-gate.ts";

/** A cluster that goes on under its old primary, and a Patroni that takes every wish and fulfils none. */
const setUp = (options: { readonly isPaused: boolean }) => {
  const clock = new VirtualClock();
  const gate = new WriteGate<NodePool>({ clock, waitingMaxCount: 10 });
  gate.open({
    identity: { name: "n1", timeline: 1 },
    database: { execute: async () => ({ rows: [{ at: "0" }], rowCount: 1 }) },
  } as unknown as NodePool);
  const wishes: SwitchoverRequest[] = [];
  let takenBackCount = 0;
  const patroni = {
    settings: async () => ({ isSynchronous: false, loopWaitMs: 1_000 }),
    check: async () => 200,
    switchover: async (wish: SwitchoverRequest, { signal }: { signal?: AbortSignal } = {}) => {
      wishes.push(wish);
      if (wish.scheduledAt !== undefined) return { kind: "scheduled", message: "" };
      return new Promise((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason)));
    },
    cancelSwitchover: async () => {
      takenBackCount += 1;
      return true;
    },
  } as unknown as PatroniClient;
  const status = {
    nodes: [],
    primary: "n1",
    timeline: 1,
    isPaused: options.isPaused,
    scheduledSwitchover: { at: "", to: undefined },
  };
  const router = { gate, parts: { monitor: { status, pokeServers: () => undefined } } };
  const switchover = new Switchover({
    router: router as unknown as ClusterRouter,
    clients: [patroni],
    clock,
    logger: silentLogger,
  });
  const stop = new AbortController();
  const outcome = switchover.run({ signal: stop.signal }).catch((error: unknown) => error);
  return {
    clock,
    gate,
    stop,
    outcome,
    wishes,
    again: (more: SwitchoverOptions = {}) => switchover.run(more),
    takenBackCount: () => takenBackCount,
  };
};

describe("a switchover that is aborted", () => {
  it("before its moment is taken back, so that it does not come when nobody holds writes back", async () => {
    const { clock, gate, stop, outcome, wishes, takenBackCount } = setUp({ isPaused: false });
    await clock.advance(100);
    expect(wishes).toHaveLength(1);
    stop.abort(new Error("enough"));
    expect(await outcome).toEqual(new Error("enough"));
    expect([gate.isPaused, takenBackCount()]).toEqual([false, 1]);
  });

  it.each([
    ["at its moment", { isPaused: false }],
    ["while Patroni is at it", { isPaused: true }],
  ])("%s lets writes go on at once", async (_when, options) => {
    const { clock, gate, stop, outcome } = setUp(options);
    await clock.advanceUntil(() => gate.isPaused, 5_000);
    await clock.advance(100);
    stop.abort(new Error("enough"));
    await clock.advance(10);
    expect(gate.isPaused).toBe(false);
    expect(await outcome).toEqual(new Error("enough"));
  });
});

describe("a switchover that did not come in time", () => {
  it("is taken back, and the old primary goes on", async () => {
    const { clock, gate, outcome, takenBackCount } = setUp({ isPaused: false });
    await clock.advance(30_000);
    expect(await outcome).toMatchObject({ code: "DATA_SWITCHOVER_REFUSED", retryable: true });
    expect([gate.isPaused, takenBackCount()]).toEqual([false, 1]);
  });
});

describe("a switchover", () => {
  it("is refused while another one is under way, from its beginning on", async () => {
    const { clock, stop, outcome, again, wishes } = setUp({ isPaused: false });
    await expect(again()).rejects.toMatchObject({ code: "DATA_SWITCHOVER_REFUSED", retryable: true });
    await clock.advance(100);
    await expect(again()).rejects.toMatchObject({ code: "DATA_SWITCHOVER_REFUSED" });
    expect(wishes).toHaveLength(1);
    stop.abort(new Error("enough"));
    await outcome;
  });

  it.each([999, 600_001, Number.NaN])("is refused with a longest pause of %d ms", async (pauseMaxMs) => {
    const { stop, outcome, again } = setUp({ isPaused: false });
    await expect(again({ pauseMaxMs })).rejects.toMatchObject({ code: "KERNEL_INVALID_INPUT" });
    stop.abort(new Error("enough"));
    await outcome;
  });
});
