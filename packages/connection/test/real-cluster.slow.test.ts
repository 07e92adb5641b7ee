import { systemClock, systemRandom } from "@holdfast/kernel";
import { retryPresets } from "@holdfast/resilience";
import { echo, startTestCluster, type TestServer, write } from "@holdfast/testkit/servers";
import { expectNoLeaks } from "@holdfast/testkit/vitest";
import { describe, expect, it, vi } from "vitest";
import { ConnectionManager, type ConnectionManagerOptions, tcpTransport } from "../src/index.ts";
import { connected } from "./connected.ts";

expectNoLeaks();

/** A cluster on real sockets behind fault proxies, and a client of it. */
const setup = async (nodeCount: number, options: Partial<ConnectionManagerOptions> = {}) => {
  const cluster = await startTestCluster({ nodeCount });
  const client = new ConnectionManager({
    clock: systemClock,
    random: systemRandom,
    transport: tcpTransport(),
    identity: { nodeId: "", role: "client" },
    hosts: cluster.addresses,
    connectTimeoutMs: 1_000,
    requestTimeoutMs: 1_000,
    heartbeatMs: 200,
    ...options,
  });
  return {
    client,
    nodes: cluster.nodes,
    node: (number: number): TestServer => cluster.nodes[number - 1] as TestServer,
    async [Symbol.asyncDispose]() {
      await client.disconnect({ drainMs: 500 });
      await cluster[Symbol.asyncDispose]();
    },
  };
};

const ask = (client: ConnectionManager, value: unknown = "x") => client.request(echo, { value });

describe("a client on real sockets", () => {
  it("connects to one live node of three and exchanges a message", async () => {
    await using both = await setup(3, { connectTimeoutMs: 20_000, requestTimeoutMs: 20_000 });
    await both.node(1).kill();
    await both.node(3).kill();
    await both.client.connect();
    expect(await ask(both.client, [1, "two"])).toMatchObject({ value: [1, "two"], nodeId: "node-2" });
  });

  it("tells a dead node from a frozen one, naming host and limit", async () => {
    await using both = await setup(1, { connectTimeoutMs: 300 });
    both.node(1).freeze();
    await expect(both.client.connect()).rejects.toMatchObject({
      code: "CONNECTION_TIMEOUT",
      details: { address: both.node(1).address, timeoutMs: 300 },
    });
    both.node(1).thaw();
    await both.node(1).kill();
    await expect(both.client.connect()).rejects.toMatchObject({
      code: "CONNECTION_REFUSED",
      details: { address: both.node(1).address },
    });
  });

  it("gives each of three nodes some of 100 sequential requests", async () => {
    await using both = await setup(3);
    await connected(both.client);
    const counts = new Map<string, number>();
    for (let index = 0; index < 100; index += 1) {
      const { nodeId } = await ask(both.client);
      counts.set(nodeId, (counts.get(nodeId) ?? 0) + 1);
    }
    expect([...counts.keys()].sort()).toEqual(["node-1", "node-2", "node-3"]);
    for (const count of counts.values()) expect(count).toBeLessThan(100);
  });

  it("asks the held node nothing, and again something after its release", async () => {
    await using both = await setup(2);
    await connected(both.client);
    both.client.markUnhealthy(1);
    for (let index = 0; index < 10; index += 1) expect((await ask(both.client)).nodeId).toBe("node-2");
    both.client.markHealthy(1);
    await vi.waitFor(async () => expect((await ask(both.client)).nodeId).toBe("node-1"));
  });

  it("retries what fails twice, after at least 300 ms, with exactly three attempts at the node", async () => {
    await using both = await setup(1);
    await connected(both.client);
    both.node(1).failNext(2, { kind: "error" });
    const startedAt = performance.now();
    await ask(both.client);
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(299);
    expect(both.node(1).counts.requests).toBe(3);
  });

  it.each([
    "reset",
    "lost-answer",
    "cut-answer",
    "bad-checksum",
    "wrong-sequence",
    "oversize",
    "garbage",
    "silence",
  ] as const)("answers a read although the node does this to it: %s", async (kind) => {
    await using both = await setup(2, { requestTimeoutMs: 1_000 });
    await connected(both.client);
    for (const node of both.nodes) node.failNext(1, { kind }, { name: echo.name });
    expect(await ask(both.client, kind)).toMatchObject({ value: kind });
    expect(await ask(both.client, "next")).toMatchObject({ value: "next" });
  });

  it.each([
    "reset",
    "lost-answer",
    "cut-answer",
    "silence",
  ] as const)("sends a write once although the node does this to it: %s", async (kind) => {
    await using both = await setup(1, { requestTimeoutMs: 1_000 });
    await connected(both.client);
    both.node(1).failNext(1, { kind });
    await expect(both.client.request(write, { value: 1 })).rejects.toMatchObject({
      code: expect.stringMatching(/^(CONNECTION_LOST|KERNEL_TIMEOUT)$/),
      retryable: false,
    });
    const attempts = both.node(1).requests.filter(({ name }) => name === write.name);
    expect(attempts.length).toBe(1);
    expect(await both.client.request(write, { value: 2 })).toMatchObject({ nodeId: "node-1" });
  });

  it("loses no read under load while one node after the other is killed, frozen, cut and slowed", async () => {
    let isOver = false;
    await using both = await setup(3, {
      requestTimeoutMs: 1_000,
      health: { ejectionMs: 300 },
      retry: retryPresets.aggressive,
      probeEveryMs: 100,
    });
    await connected(both.client);
    // Declared last, so that it ends first: the workers must not outlive the client when an expectation fails.
    using _load = {
      [Symbol.dispose]: () => {
        isOver = true;
      },
    };
    let answeredCount = 0;
    const failures: unknown[] = [];
    const worker = async (number: number): Promise<void> => {
      for (let index = 0; !isOver; index += 1) {
        try {
          const value = `${number}/${index}`;
          const answer = await both.client.request(echo, { value }, { deadlineMs: 30_000 });
          if (answer.value === value) answeredCount += 1;
          else failures.push(new Error(`${String(answer.value)} instead of ${value}`));
          await systemClock.sleep(2);
        } catch (error) {
          failures.push(error);
        }
      }
    };
    const load = Array.from({ length: 8 }, (_, number) => worker(number));
    const answered = async (count: number): Promise<void> => {
      const target = answeredCount + count;
      await vi.waitFor(() => expect(answeredCount).toBeGreaterThan(target), { timeout: 10_000 });
    };
    await answered(100);
    await both.node(1).kill();
    await answered(100);
    await both.node(1).start();
    both.node(2).freeze();
    await answered(100);
    both.node(2).thaw();
    await answered(100);
    both.node(3).network.set({ latencyMs: 100 });
    await answered(100);
    await both.node(3).network.heal();
    await both.node(2).stop();
    await answered(100);
    await both.node(2).start();
    // Load comes back to every healed node.
    const before = both.nodes.map(({ counts }) => counts.requests);
    await vi.waitFor(
      () => {
        const grown = both.nodes.map(({ counts }, index) => counts.requests - (before[index] ?? 0));
        expect(Math.min(...grown)).toBeGreaterThan(0);
      },
      { timeout: 10_000 },
    );
    isOver = true;
    await Promise.all(load);
    expect(failures).toEqual([]);
    const { active, idle, opening, resetting, total } = both.client.stats.connections;
    expect(active + idle + opening + resetting).toBe(total);
  });

  it("keeps one connection for a lease, and drops it when its answer is late", async () => {
    await using both = await setup(1);
    await connected(both.client);
    const lease = await both.client.lease();
    const ids = new Set<string>();
    for (let index = 0; index < 5; index += 1) {
      ids.add((await lease.request(echo, { value: index })).connectionId);
    }
    expect(ids.size).toBe(1);
    both.node(1).failNext(1, { kind: "delay", ms: 300 });
    await expect(lease.request(echo, { value: "late" }, { timeoutMs: 50 })).rejects.toMatchObject({
      code: "KERNEL_TIMEOUT",
    });
    expect(lease.isHeld).toBe(false);
    const next = await both.client.lease();
    const answer = await next.request(echo, { value: "mine" });
    expect(answer.value).toBe("mine");
    expect(ids.has(answer.connectionId)).toBe(false);
    next.release();
  });

  it("closes every socket when it disconnects", async () => {
    await using both = await setup(3, { pool: { minCount: 6 } });
    await connected(both.client);
    await vi.waitFor(() =>
      expect(both.nodes.reduce((sum, { counts }) => sum + counts.openConnections, 0)).toBe(6),
    );
    await both.client.disconnect();
    await vi.waitFor(() => expect(both.nodes.map(({ counts }) => counts.openConnections)).toEqual([0, 0, 0]));
    await both.client.disconnect();
  });

  it("stays within its limits while frames are cut into single bytes and glued together", async () => {
    // A turn of the event loop for each byte takes its time.
    await using both = await setup(1, {
      connectTimeoutMs: 10_000,
      requestTimeoutMs: 10_000,
      heartbeatMs: 5_000,
    });
    both.node(1).network.set({ sliceBytes: 1 });
    await connected(both.client);
    const answers = await Promise.all(Array.from({ length: 20 }, (_, value) => ask(both.client, value)));
    expect(answers.map(({ value }) => value)).toEqual(Array.from({ length: 20 }, (_, value) => value));
  });
});
