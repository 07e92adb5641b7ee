import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { systemClock, systemRandom } from "@holdfast/kernel";
import { expectNoLeaks } from "@holdfast/testkit/vitest";
import { describe, expect, it } from "vitest";
import { ConnectionManager, connect, tcpTransport } from "../src/index.ts";
import { control, work } from "./overload/backend-requests.ts";
import { LoadRecord, type LoadStats } from "./soak/load-record.ts";
import { openLoad } from "./soak/open-load.ts";

expectNoLeaks();

const WORK_MS = 5;
const DEADLINE_MS = 1_000;
const common = {
  clock: systemClock,
  random: systemRandom,
  transport: tcpTransport(),
  identity: { nodeId: "", role: "client" },
};

/** A host in a process of its own. */
const startHost = async () => {
  const script = fileURLToPath(new URL("processes/backend.ts", import.meta.url));
  const child: ChildProcess = spawn(
    process.execPath,
    ["--import", "tsx", "--conditions", "holdfast-source", script],
    { stdio: ["pipe", "pipe", "inherit"] },
  );
  if (child.stdout === null) throw new Error("the host has no output");
  const lines = createInterface({ input: child.stdout });
  const [address] = (await once(lines, "line")) as [string];
  const exited = once(child, "exit");
  const switchTo = async (isFailing: boolean): Promise<number> => {
    const peer = await connect({ ...common, address });
    const { arrivedCount } = await peer.request(control, { isFailing });
    await peer.close();
    return arrivedCount;
  };
  return {
    address,
    switchTo,
    kill: async (): Promise<void> => {
      child.kill("SIGKILL");
      await exited;
    },
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await exited;
      lines.close();
    },
  };
};

/** Two hosts, and a client of them. */
const setup = async () => {
  const hosts = await Promise.all([startHost(), startHost()]);
  const client = new ConnectionManager({
    ...common,
    hosts: hosts.map(({ address }) => address),
    requestTimeoutMs: DEADLINE_MS / 2,
    connectTimeoutMs: DEADLINE_MS / 2,
  });
  await client.connect();
  const call = async (record: LoadRecord, dueAt: number, ms: number): Promise<void> => {
    record.asked();
    let failure: unknown;
    try {
      await client.request(work, { ms }, { deadlineMs: DEADLINE_MS });
    } catch (error) {
      failure = error;
    }
    record.ended(systemClock.monotonicNow() - dueAt, failure);
  };
  return {
    hosts,
    client,
    /** So many calls a second for so long, and how they fared. */
    load: async (rate: number, forMs: number, ms = WORK_MS): Promise<LoadStats> => {
      const record = new LoadRecord(DEADLINE_MS);
      const stop = new AbortController();
      const loading = openLoad(rate, (_, dueAt) => call(record, dueAt, ms), stop.signal);
      await systemClock.sleep(forMs);
      stop.abort();
      await loading;
      return record.stats;
    },
    /** Good answers a second when so many callers each ask as soon as they are answered. */
    capacity: async (callerCount: number, forMs: number): Promise<number> => {
      const record = new LoadRecord(DEADLINE_MS);
      const startedAt = systemClock.monotonicNow();
      const caller = async (): Promise<void> => {
        while (systemClock.monotonicNow() - startedAt < forMs)
          await call(record, systemClock.monotonicNow(), WORK_MS);
      };
      await Promise.all(Array.from({ length: callerCount }, caller));
      return (record.stats.answeredCount * 1_000) / (systemClock.monotonicNow() - startedAt);
    },
    async [Symbol.asyncDispose]() {
      await client.disconnect({ drainMs: 500 });
      for (const host of hosts) await host[Symbol.asyncDispose]();
    },
  };
};

describe("a back end of two processes", () => {
  it("still gives most of its capacity in good answers at three times the load, and recovers soon", async () => {
    await using both = await setup();
    const before = await both.capacity(12, 2_000);
    const overloadMs = 4_000;
    const overloaded = await both.load(3 * before, overloadMs);
    const goodput = (overloaded.answeredCount * 1_000) / overloadMs;

    const overAt = systemClock.monotonicNow();
    let calm: LoadStats;
    do calm = await both.load(before / 2, 500);
    while (calm.answeredCount < calm.askedCount && systemClock.monotonicNow() - overAt < 10_000);
    const recoveryMs = systemClock.monotonicNow() - overAt;
    // The machine does other things too: what it can do is what it could do at both ends of the test.
    const capacity = Math.min(before, await both.capacity(12, 2_000));
    console.log(
      `capacity ${Math.round(capacity)}/s; at ${Math.round(overloaded.askedCount / 4)}/s good answers ` +
        `${Math.round(goodput)}/s (${Math.round((100 * goodput) / capacity)} %), p99 ${overloaded.p99Ms} ms, ` +
        `${JSON.stringify(overloaded.failures)}; recovered within ${Math.round(recoveryMs)} ms`,
    );
    expect(overloaded.askedCount).toBeGreaterThan((2.5 * before * overloadMs) / 1_000);
    expect(goodput).toBeGreaterThanOrEqual(0.9 * capacity);
    expect(overloaded.hungCount).toBe(0);
    expect(recoveryMs).toBeLessThan(5_000);
  }, 60_000);

  it("gets at most a fifth more calls by retries in a total outage, switched off or dead", async () => {
    await using both = await setup();
    const before = await Promise.all(both.hosts.map(({ switchTo }) => switchTo(true)));
    const off = await both.load(500, 3_000, 0);
    const after = await Promise.all(both.hosts.map(({ switchTo }) => switchTo(true)));
    const arrivedCount = after.reduce((sum, count, index) => sum + count - (before[index] ?? 0), 0);
    expect(off.answeredCount).toBe(0);

    for (const host of both.hosts) await host.kill();
    const { attemptCount, callCount } = both.client.stats.retries;
    const dead = await both.load(500, 2_000, 0);
    const stats = both.client.stats.retries;
    const triedShare = (stats.attemptCount - attemptCount) / (stats.callCount - callCount);
    console.log(
      `switched off: ${off.askedCount} calls, ${arrivedCount} arrived (+${percent(arrivedCount / off.askedCount - 1)}); ` +
        `dead: ${dead.askedCount} calls, +${percent(triedShare - 1)} attempts`,
    );
    expect(arrivedCount).toBeGreaterThanOrEqual(off.askedCount);
    expect(arrivedCount).toBeLessThanOrEqual(1.2 * off.askedCount);
    expect(dead.answeredCount).toBe(0);
    expect(triedShare).toBeLessThanOrEqual(1.2);
    expect(off.hungCount + dead.hungCount).toBe(0);
  }, 60_000);

  it("fails hardly any call after the first second when one of its hosts is dead", async () => {
    await using both = await setup();
    await both.load(500, 500, 0);
    const [first] = both.hosts;
    const firstSecond = both.load(500, 1_000, 0);
    await first?.kill();
    const { askedCount, failures } = await firstSecond;
    const later = await both.load(700, 3_000, 0);
    const failedCount = later.askedCount - later.answeredCount;
    console.log(
      `first second: ${JSON.stringify(failures)} of ${askedCount}; then ${failedCount} of ${later.askedCount} failed, ` +
        `p99 ${later.p99Ms} ms`,
    );
    expect(later.askedCount).toBeGreaterThan(1_500);
    expect(failedCount).toBeLessThanOrEqual(0.001 * later.askedCount);
    expect(later.hungCount).toBe(0);
  }, 60_000);
});

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
