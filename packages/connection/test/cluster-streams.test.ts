import { OverloadedError, RemoteError, seededRandom } from "@holdfast/kernel";
import { defineStream } from "@holdfast/protocol/contract";
import { expectNoLeaks } from "@holdfast/testkit/vitest";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import {
  ConnectionManager,
  type ConnectionManagerOptions,
  TokenExpiredError,
  type Transport,
} from "../src/index.ts";
import { cluster } from "./cluster-fixture.ts";
import { echo } from "./fixture.ts";

expectNoLeaks();

const rows = defineStream({
  name: "test.rows",
  scope: "read",
  priority: "normal",
  idempotent: true,
  input: z.object({ count: z.number() }),
  item: z.number(),
});

/** A stream that changes something. */
const act = defineStream({ ...rows, name: "test.act", idempotent: false });

/** A cluster whose nodes stream numbers, one each 10 ms, after the failures that they were told of. */
const setup = async (count: number, options: Partial<ConnectionManagerOptions> = {}) => {
  const both = await cluster(count, options);
  for (const node of both.nodes) {
    await node.kill();
    node.register = (handlers) =>
      handlers.onStream(rows, async function* (input, { peer, signal }) {
        node.calls.push({ text: "rows", peer: peer.id });
        const failure = node.failures.shift();
        if (failure !== undefined) throw failure;
        for (let number = 0; number < input.count; number += 1) {
          await both.clock.sleep(10, { signal });
          yield number;
        }
      });
    await node.start();
  }
  await both.settle(both.client.connect());
  return both;
};

const collect = async <T>(items: AsyncIterable<T>, seen: T[] = []): Promise<readonly T[]> => {
  for await (const item of items) seen.push(item);
  return seen;
};

describe("a stream from a cluster", () => {
  it("is not asked for again when its handler threw at once: it may have acted before", async () => {
    const { client, node, settle } = await cluster(1);
    await node(1).kill();
    node(1).register = (handlers) =>
      handlers.onStream(act, (_input, { peer }) => {
        node(1).calls.push({ text: "act", peer: peer.id });
        throw new OverloadedError("its pool", 1);
      });
    await node(1).start();
    await settle(client.connect());
    await expect(settle(collect(client.stream(act, { count: 1 })))).rejects.toMatchObject({
      code: "KERNEL_OVERLOADED",
    });
    expect(node(1).calls.length).toBe(1);
    await settle(client.disconnect());
  });

  it("comes whole, and its node counts it as in flight until it ends", async () => {
    const { client, settle } = await setup(2);
    const stream = client.stream(rows, { count: 3 });
    expect(await settle(stream.next())).toEqual({ done: false, value: 0 });
    expect(client.stats.nodes.map(({ inFlightCount }) => inFlightCount).sort()).toEqual([0, 1]);
    expect(await settle(collect(stream))).toEqual([1, 2]);
    expect(client.stats.nodes.map(({ inFlightCount }) => inFlightCount)).toEqual([0, 0]);
    await settle(client.disconnect());
  });

  it("is asked of another node while no item has come, and of none after that", async () => {
    const { client, callCounts, clock, nodes, settle } = await setup(2);
    const busy = (): RemoteError => new RemoteError({ code: "TEST_BUSY", message: "busy", retryable: true });
    for (const node of nodes) node.failures.push(busy());
    expect(await settle(collect(client.stream(rows, { count: 2 })))).toEqual([0, 1]);
    expect(callCounts()).toEqual([expect.any(Number), expect.any(Number)]);
    expect(callCounts().reduce((sum, count) => sum + count)).toBe(3);

    const seen: number[] = [];
    const reading = collect(client.stream(rows, { count: 100 }), seen);
    const lost = expect(reading).rejects.toMatchObject({ code: "CONNECTION_LOST" });
    await clock.advance(35);
    const before = callCounts().reduce((sum, count) => sum + count);
    for (const node of nodes) await node.kill();
    await clock.advance(100);
    await lost;
    expect(seen).toEqual([0, 1, 2]);
    expect(callCounts().reduce((sum, count) => sum + count)).toBe(before);
    expect(client.health.some(({ failuresInRow }) => failuresInRow > 0)).toBe(true);
    await settle(client.disconnect());
  });

  it("frees its connection when its reader leaves", async () => {
    const { client, nodes, settle, clock } = await setup(1, { pool: { minCount: 0 } });
    const stream = client.stream(rows, { count: 1_000 });
    await settle(stream.next());
    expect(client.stats.connections.active).toBe(1);
    await settle(stream.return());
    expect(client.stats).toMatchObject({
      connections: { active: 0, idle: 1 },
      nodes: [{ inFlightCount: 0 }],
    });
    await clock.advance(100);
    expect(nodes[0]?.openCount).toBe(1);
    await settle(client.disconnect());
  });
});

/** The transport; `onFrame` hears of each frame that a dialled link has handed over. */
const heard = (transport: Transport, onFrame: () => void): Transport => ({
  kind: transport.kind,
  listen: (address, onLink) => transport.listen(address, onLink),
  dial: async (address, options) => {
    const link = await transport.dial(address, options);
    const listen = link.onFrame.bind(link);
    link.onFrame = (listener) =>
      listen((frame) => {
        listener(frame);
        onFrame();
      });
    return link;
  },
});

describe("a stream whose reader gives up as its first item comes", () => {
  it.each(
    Array.from({ length: 24 }, (_, turns) => turns),
  )("leaves nothing behind: %i turns later", async (turns) => {
    const { clock, client: other, network, node, settle } = await setup(1);
    let onFrame = (): void => undefined;
    const client = new ConnectionManager({
      clock,
      random: seededRandom(1),
      transport: heard(network, () => onFrame()),
      identity: { nodeId: "", role: "client" },
      hosts: [node(1).host],
      pool: { minCount: 0 },
    });
    await settle(client.connect());
    const controller = new AbortController();
    const next = client.stream(rows, { count: 5 }, { signal: controller.signal }).next();
    const settled = next.then(
      () => undefined,
      () => undefined,
    );
    await clock.advance(5);
    onFrame = async () => {
      onFrame = () => undefined;
      for (let turn = 0; turn < turns; turn += 1) await undefined;
      controller.abort(new Error("enough"));
    };
    await settle(settled);
    await clock.advance(1_000);
    // Where the item was handed over first, the reader still has the stream.
    const isRead = await next.then(
      () => true,
      () => false,
    );
    expect(client.stats.nodes[0]?.inFlightCount).toBe(isRead ? 1 : 0);
    expect(client.stats.connections.active).toBe(isRead ? 1 : 0);
    await settle(client.disconnect());
    await settle(other.disconnect());
  });
});

describe("a stream over an exclusive lease", () => {
  it("keeps the lease's connection and its place in the order when it is read to its end", async () => {
    const { client, node, settle } = await setup(1);
    const lease = await settle(client.lease());
    const read = collect(lease.stream(rows, { count: 3 }));
    const after = lease.request(echo, { text: "after" });
    expect(await settle(read)).toEqual([0, 1, 2]);
    await settle(after);
    expect(node(1).calls.map(({ text }) => text)).toEqual(["rows", "after"]);
    expect(new Set(node(1).calls.map(({ peer }) => peer)).size).toBe(1);
    expect(lease.isHeld).toBe(true);
    lease.release();
    await settle(client.disconnect());
  });

  it("destroys the connection when its reader leaves early or aborts", async () => {
    const { client, node, settle, clock } = await setup(1, { pool: { minCount: 0 } });
    const early = await settle(client.lease());
    const stream = early.stream(rows, { count: 1_000 });
    await settle(stream.next());
    await settle(stream.return());
    expect(early.isHeld).toBe(false);

    const controller = new AbortController();
    const aborted = await settle(client.lease());
    const next = aborted.stream(rows, { count: 1_000 }, { signal: controller.signal }).next();
    const reason = new Error("not needed");
    const refused = expect(next).rejects.toBe(reason);
    await clock.advanceUntil(() => node(1).calls.length === 2, 100);
    controller.abort(reason);
    await clock.advance(1);
    await refused;
    expect(aborted.isHeld).toBe(false);
    await clock.advance(10);
    expect(node(1).openCount).toBe(0);
    expect(client.stats.connections).toMatchObject({ active: 0, total: 0 });
    await settle(client.disconnect());
  });

  it("is asked for again with a fresh token when the old one expired", async () => {
    let renewedCount = 0;
    const { client, node, settle } = await setup(1, {
      credential: {
        credential: async () => ({ token: `t${renewedCount}` }),
        renew: async () => {
          renewedCount += 1;
          return { token: `t${renewedCount}` };
        },
        end: async () => undefined,
      },
    });
    node(1).refusals.push(new TokenExpiredError(0));
    const lease = await settle(client.lease());
    expect(await settle(collect(lease.stream(rows, { count: 2 })))).toEqual([0, 1]);
    expect(renewedCount).toBe(1);
    lease.release();
    await settle(client.disconnect());
  });
});
