import { isHoldfastError, systemClock, systemRandom } from "@holdfast/kernel";
import { defineStream } from "@holdfast/protocol/contract";
import { retryPresets } from "@holdfast/resilience";
import { echo, type RequestFault, startTestCluster, type TestServer, write } from "@holdfast/testkit/servers";
import { expectNoLeaks } from "@holdfast/testkit/vitest";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { ConnectionManager, type ConnectionManagerOptions, tcpTransport } from "../src/index.ts";
import { connected } from "./connected.ts";

expectNoLeaks();

const count = defineStream({
  name: "test.count",
  scope: "read",
  priority: "normal",
  idempotent: true,
  input: z.object({ to: z.number() }),
  item: z.number(),
});

const LIMIT_MS = 150;
/** Where nothing is broken nothing may end early, however busy the machine is. */
const UNLIMITED = {
  connectTimeoutMs: 30_000,
  requestTimeoutMs: 30_000,
  heartbeatMs: 30_000,
} as const satisfies Partial<ConnectionManagerOptions>;

const setup = async (nodeCount: number, options: Partial<ConnectionManagerOptions> = {}) => {
  const cluster = await startTestCluster({
    nodeCount,
    register: (handlers) =>
      handlers.onStream(count, async function* ({ to }) {
        for (let number = 0; number < to; number += 1) yield number;
      }),
  });
  const client = new ConnectionManager({
    clock: systemClock,
    random: systemRandom,
    transport: tcpTransport(),
    identity: { nodeId: "", role: "client" },
    hosts: cluster.addresses,
    connectTimeoutMs: LIMIT_MS,
    requestTimeoutMs: LIMIT_MS,
    heartbeatMs: 100,
    retry: { ...retryPresets.standard, maxAttempts: 2 },
    pool: { minCount: 0, acquireTimeoutMs: LIMIT_MS },
    ...options,
  });
  return {
    client,
    nodes: cluster.nodes,
    async [Symbol.asyncDispose]() {
      await client.disconnect({ drainMs: 200 });
      await cluster[Symbol.asyncDispose]();
    },
  };
};

/** Everything that a client can do, each with an end of its own. */
const operations = (client: ConnectionManager): Record<string, () => Promise<unknown>> => ({
  read: () => client.request(echo, { value: 1 }),
  write: () => client.request(write, { value: 1 }),
  "read with a deadline": () => client.request(echo, { value: 1 }, { deadlineMs: LIMIT_MS }),
  stream: async () => {
    let last = -1;
    for await (const number of client.stream(count, { to: 500 })) last = number;
    return last;
  },
  "write over a lease": async () => {
    using lease = await client.lease();
    return await lease.request(write, { value: 1 });
  },
  "stream over a lease": async () => {
    using lease = await client.lease();
    for await (const _ of lease.stream(count, { to: 500 }));
  },
  "health check": () => client.checkHealth({ timeoutMs: LIMIT_MS }),
  connect: () => client.connect(),
});

const TROUBLES: Record<string, (node: TestServer) => Promise<void> | void> = {
  ...Object.fromEntries(
    (
      [
        "error",
        "silence",
        "reset",
        "lost-answer",
        "cut-answer",
        "bad-checksum",
        "wrong-sequence",
        "oversize",
        "garbage",
      ] as const satisfies readonly RequestFault["kind"][]
    ).map((kind) => [`answers by ${kind}`, (node: TestServer) => node.failNext(1_000, { kind })]),
  ),
  "is dead": (node) => node.kill(),
  "is frozen": (node) => node.freeze(),
  "lets nothing out": (node) => node.network.set({ cut: true }, "toClient"),
  "has forgotten its connections": (node) => node.network.halfOpen("client"),
  "resets each connection": (node) => node.failNextConnections(1_000, "reset"),
  "speaks to no connection": (node) => {
    node.network.reset();
    node.failNextConnections(1_000, "silence");
  },
  "sends byte by byte": (node) => node.network.set({ sliceBytes: 1 }),
};

describe("every operation ends in a result or a typed error", () => {
  it.each(Object.keys(TROUBLES))("when each node %s", async (trouble) => {
    await using both = await setup(2);
    await connected(both.client);
    for (const node of both.nodes) await TROUBLES[trouble]?.(node);
    const startedAt = systemClock.monotonicNow();
    const ended = await Promise.all(
      Object.entries(operations(both.client)).map(async ([name, operation]) => {
        try {
          await operation();
          return [name, "result"] as const;
        } catch (error) {
          return [name, isHoldfastError(error) ? "error" : String(error)] as const;
        }
      }),
    );
    for (const [name, end] of ended) expect(`${name}: ${end}`).toMatch(/: (result|error)$/);
    // Two attempts on two nodes, each with its connecting, and the pause between them: ten times that on a busy machine.
    expect(systemClock.monotonicNow() - startedAt).toBeLessThan(20_000);
    const { active } = both.client.stats.connections;
    expect(active).toBe(0);
  });
});

describe("requests one after the other", () => {
  it("use one connection to each node within the idle time, and another one after it", async () => {
    const idleTimeoutMs = 500;
    await using both = await setup(2, { ...UNLIMITED, pool: { minCount: 0, idleTimeoutMs } });
    await connected(both.client);
    const ask = async () => {
      const ids = new Map<string, Set<string>>();
      const startedAt = systemClock.monotonicNow();
      for (let index = 0; index < 20; index += 1) {
        const { connectionId, nodeId } = await both.client.request(echo, { value: index });
        ids.set(nodeId, (ids.get(nodeId) ?? new Set()).add(connectionId));
      }
      return { ids, tookMs: systemClock.monotonicNow() - startedAt };
    };
    /** Requests that came within the idle time; on a busy machine others may come before them. */
    const askQuickly = async () => {
      for (let triesLeft = 100; triesLeft > 0; triesLeft -= 1) {
        const { ids, tookMs } = await ask();
        if (tookMs < idleTimeoutMs / 2) return ids;
      }
      throw new Error("the machine is too busy to ask twenty times within the idle time");
    };
    const first = await askQuickly();
    expect([...first.values()].map(({ size }) => size)).toEqual([1, 1]);
    // Real time: the idle time of a connection passes.
    await systemClock.sleep(idleTimeoutMs + 50);
    const second = await askQuickly();
    for (const [nodeId, ids] of second) {
      expect(ids.size).toBe(1);
      expect(first.get(nodeId)).not.toEqual(ids);
    }
  });
});

describe("a limit", () => {
  it("is named by its error with the operation, whatever it is, and kept", async () => {
    await using both = await setup(1, { ...UNLIMITED, retry: retryPresets.none });
    await connected(both.client);
    const limits = Array.from({ length: 40 }, () => 1 + Math.floor(systemRandom.next() * 60));
    await Promise.all(
      limits.map(async (timeoutMs, index) => {
        const isDeadline = index % 2 === 0;
        both.nodes[0]?.failNext(1, { kind: "silence" });
        const startedAt = systemClock.monotonicNow();
        await expect(
          both.client.request(echo, { value: 1 }, isDeadline ? { deadlineMs: timeoutMs } : { timeoutMs }),
        ).rejects.toMatchObject({
          code: "KERNEL_TIMEOUT",
          timeoutMs,
          operation: expect.stringContaining("test.echo"),
        });
        // Node's own timers may be early by a fraction of a millisecond.
        expect(systemClock.monotonicNow() - startedAt).toBeGreaterThanOrEqual(timeoutMs - 1);
      }),
    );
  });
});
