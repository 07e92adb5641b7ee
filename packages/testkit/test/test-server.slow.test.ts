import { connect, type Peer, tcpTransport } from "@holdfast/connection";
import { systemClock, systemRandom } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import { waitUntil } from "../src/index.ts";
import {
  echo,
  startTestCluster,
  startTestServer,
  type TestServerOptions,
  write,
} from "../src/servers/index.ts";
import { expectNoLeaks } from "../src/vitest/index.ts";

const dial = (address: string, token?: string, timeoutMs = 10_000): Promise<Peer> =>
  connect({
    address,
    clock: systemClock,
    random: systemRandom,
    transport: tcpTransport(),
    identity: { nodeId: "", role: "client" },
    timeoutMs,
    ...(token === undefined ? {} : { credential: { token } }),
  });

const setup = async (options: TestServerOptions = {}) => {
  const server = await startTestServer(options);
  const peers: Peer[] = [];
  return {
    server,
    async client(token?: string, timeoutMs?: number): Promise<Peer> {
      const peer = await dial(server.address, token, timeoutMs);
      peers.push(peer);
      return peer;
    },
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await Promise.all(peers.map((peer) => peer.close()));
    },
  };
};

describe("startTestServer", () => {
  expectNoLeaks();

  it("answers, counts and records", async () => {
    await using harness = await setup({ nodeId: "node-7" });
    const { server } = harness;
    const [first, second] = [await harness.client(), await harness.client()];
    const one = await first.request(echo, { value: [1, "two"] });
    expect(one).toMatchObject({ value: [1, "two"], nodeId: "node-7" });
    expect((await first.request(echo, { value: 0 })).connectionId).toBe(one.connectionId);
    expect((await second.request(write, { value: 0 })).connectionId).not.toBe(one.connectionId);
    expect(server.counts).toMatchObject({ openConnections: 2, acceptedConnections: 2, requests: 3 });
    expect(server.counts.bytesIn).toBeGreaterThan(0);
    expect(server.counts.bytesOut).toBeGreaterThan(0);
    expect(server.requests.map(({ name, connectionNumber }) => [name, connectionNumber])).toEqual([
      ["test.echo", 1],
      ["test.echo", 1],
      ["test.write", 2],
    ]);
    expect(server.writeCount).toBe(1);
  });

  it("fails the next requests as told, then answers again", async () => {
    await using harness = await setup();
    const client = await harness.client();
    harness.server.failNext(2, { kind: "error", code: "BUSY_TODAY", retryable: true, retryAfterMs: 70 });
    for (const value of [1, 2]) {
      const refusal = { code: "BUSY_TODAY", retryable: true, retryAfterMs: 70 };
      await expect(client.request(echo, { value })).rejects.toMatchObject(refusal);
    }
    expect(await client.request(echo, { value: 3 })).toMatchObject({ value: 3 });
    expect(harness.server.requests.map(({ fault }) => fault)).toEqual(["error", "error", undefined]);
  });

  it("disturbs only requests of the given name", async () => {
    await using harness = await setup();
    const client = await harness.client();
    harness.server.failNext(1, { kind: "error" }, { name: "test.write" });
    await client.request(echo, { value: 1 });
    await expect(client.request(write, { value: 1 })).rejects.toMatchObject({ code: "TESTKIT_UNHEALTHY" });
    expect(harness.server.writeCount).toBe(0);
  });

  it("never answers, or answers late", async () => {
    await using harness = await setup();
    const client = await harness.client();
    harness.server.failNext(1, { kind: "silence" });
    const unanswered = client.request(echo, { value: 1 }, { timeoutMs: 50 });
    await expect(unanswered).rejects.toMatchObject({ code: "KERNEL_TIMEOUT" });
    harness.server.failNext(1, { kind: "delay", ms: 30 });
    const sentAt = systemClock.monotonicNow();
    await client.request(echo, { value: 1 });
    expect(systemClock.monotonicNow() - sentAt).toBeGreaterThanOrEqual(29);
  });

  it("breaks the connection before the request is carried out", async () => {
    await using harness = await setup();
    const client = await harness.client();
    harness.server.failNext(1, { kind: "reset" });
    await expect(client.request(write, { value: 1 })).rejects.toMatchObject({ code: "CONNECTION_LOST" });
    expect(harness.server.writeCount).toBe(0);
  });

  it.each([
    "lost-answer",
    "cut-answer",
    "bad-checksum",
    "wrong-sequence",
    "oversize",
    "garbage",
  ] as const)("carries the request out and spoils the answer: %s", async (kind) => {
    await using harness = await setup();
    const client = await harness.client();
    harness.server.failNext(1, { kind });
    await expect(client.request(write, { value: 1 })).rejects.toThrow();
    expect(harness.server.writeCount).toBe(1);
    await waitUntil("the client to give the connection up", () => !client.isOpen);
    expect(await (await harness.client()).request(echo, { value: 1 })).toMatchObject({ value: 1 });
  });

  it("closes the next connections, or takes them and never speaks", async () => {
    await using harness = await setup();
    harness.server.failNextConnections(1, "reset");
    await expect(harness.client()).rejects.toThrow();
    harness.server.failNextConnections(1, "silence");
    await expect(harness.client(undefined, 300)).rejects.toMatchObject({ code: "CONNECTION_TIMEOUT" });
    await (await harness.client()).request(echo, { value: 1 });
  });

  it("refuses every request while unhealthy", async () => {
    await using harness = await setup();
    const client = await harness.client();
    harness.server.setHealthy(false);
    await expect(client.request(echo, { value: 1 })).rejects.toMatchObject({ retryable: true });
    harness.server.setHealthy(true);
    await client.request(echo, { value: 1 });
  });

  it("finishes what runs when it is stopped, and starts again on the same port", async () => {
    await using harness = await setup();
    const client = await harness.client();
    harness.server.failNext(1, { kind: "delay", ms: 20 });
    const running = client.request(echo, { value: "last" });
    await waitUntil("the request to arrive", () => harness.server.counts.requests === 1);
    const stopped = harness.server.stop();
    await waitUntil("the client to be told", () => client.isDraining || !client.isOpen);
    await running.catch(() => undefined);
    await stopped;
    await expect(harness.client()).rejects.toMatchObject({ code: "CONNECTION_REFUSED" });
    await harness.server.start();
    await (await harness.client()).request(echo, { value: 1 });
  });

  it("dies without a word, and comes back", async () => {
    await using harness = await setup();
    const client = await harness.client();
    await harness.server.kill();
    await waitUntil("the client to notice", () => !client.isOpen);
    expect(harness.server.counts.openConnections).toBe(0);
    await expect(harness.client()).rejects.toMatchObject({ code: "CONNECTION_REFUSED" });
    await harness.server.restart();
    await (await harness.client()).request(echo, { value: 1 });
  });

  it("freezes: connections are taken and nothing is answered until it thaws", async () => {
    await using harness = await setup();
    const client = await harness.client();
    harness.server.freeze();
    const waiting = client.request(echo, { value: 1 }, { timeoutMs: 15_000 });
    await expect(harness.client(undefined, 300)).rejects.toMatchObject({ code: "CONNECTION_TIMEOUT" });
    harness.server.thaw();
    expect(await waiting).toMatchObject({ value: 1 });
  });

  it("works on frames in single bytes and on frames that stick together", async () => {
    await using harness = await setup();
    const client = await harness.client();
    harness.server.network.set({ sliceBytes: 1 });
    expect(await client.request(echo, { value: "slow" })).toMatchObject({ value: "slow" });
    await harness.server.network.heal();
    harness.server.network.set({ glueMs: 20 });
    const answers = await Promise.all([1, 2, 3].map((value) => client.request(echo, { value })));
    expect(answers.map(({ value }) => value)).toEqual([1, 2, 3]);
  });

  it("lets in who has a token that still holds, to what it allows", async () => {
    await using harness = await setup({ tokens: { reader: { scopes: ["read"] }, short: { ttlMs: 1 } } });
    await expect(harness.client()).rejects.toMatchObject({ code: "AUTHENTICATION_FAILED" });
    const reader = await harness.client("reader");
    await reader.request(echo, { value: 1 });
    const refused = reader.request(write, { value: 1 });
    await expect(refused).rejects.toMatchObject({ code: "AUTHENTICATION_PERMISSION_DENIED" });
    await waitUntil("the short token to end", async () => {
      const outcome = await harness.client("short").catch((error: { code?: string }) => error.code);
      return outcome === "AUTHENTICATION_FAILED";
    });
    harness.server.revokeToken("reader");
    await expect(harness.client("reader")).rejects.toMatchObject({ code: "AUTHENTICATION_FAILED" });
  });
});

describe("startTestCluster", () => {
  expectNoLeaks();

  it("starts named nodes on ports of their own, and kills one alone", async () => {
    await using cluster = await startTestCluster();
    expect(cluster.nodes.map(({ nodeId }) => nodeId)).toEqual(["node-1", "node-2", "node-3"]);
    expect(new Set(cluster.addresses).size).toBe(3);
    await cluster.nodes[1]?.kill();
    const peers = await Promise.all([0, 2].map((index) => dial(cluster.addresses[index] ?? "")));
    const answers = await Promise.all(peers.map((peer) => peer.request(echo, { value: 1 })));
    expect(answers.map(({ nodeId }) => nodeId)).toEqual(["node-1", "node-3"]);
    await Promise.all(peers.map((peer) => peer.close()));
  });

  it("refuses more nodes than ports", async () => {
    await expect(startTestCluster({ nodeCount: 2, ports: [7_000] })).rejects.toThrow(/2 nodes need 2 ports/);
  });
});
