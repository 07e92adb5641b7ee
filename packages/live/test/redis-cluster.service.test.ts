import { createRedisStore } from "@holdfast/coordination/redis";
import { openRedis } from "@holdfast/data";
import { type RedisCluster, startRedisCluster } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { WebSocket } from "ws";
import { BroadcastClient } from "../src/client/index.ts";
import { StoredChannelLog } from "../src/server/index.ts";
import { TestLiveServer } from "../src/testing/index.ts";

const NAMESPACE = "live-cluster";
const PATIENCE = { timeout: 60_000, interval: 50 };
vi.setConfig({ testTimeout: 3 * PATIENCE.timeout });

/** A live server of its own, as a process would have it: its own client of the cluster. */
const startServer = async (cluster: RedisCluster) => {
  const redis = openRedis({ clusterUrls: cluster.urls });
  const store = await createRedisStore({ redis, namespace: NAMESPACE });
  const log = new StoredChannelLog({ log: store.log });
  const server = await TestLiveServer.start({ log });
  return {
    server,
    [Symbol.asyncDispose]: async () => {
      await server.close();
      await log.close();
      await store.close();
      await redis.close();
    },
  };
};

/** A client of one channel, with what it was told in order: numbers, and `gap` where something may be missing. */
const follow = async (server: TestLiveServer) => {
  const client = new BroadcastClient(server.url, {
    webSocket: WebSocket as never,
    tabs: false,
    reconnectDelay: 20,
    reconnectDelayMax: 200,
  });
  const story: unknown[] = [];
  client.onGap(() => story.push("gap"));
  client.subscribe("a", ({ payload }) => story.push(payload["n"]));
  client.connect();
  await client.ready("a");
  return { story, [Symbol.dispose]: () => client.disconnect() };
};

describeService("redis", "two servers over a Redis Cluster", () => {
  let cluster: RedisCluster;
  beforeAll(async () => {
    cluster = await startRedisCluster({ replicasPerMaster: 1 });
  });
  afterAll(async () => {
    await cluster?.[Symbol.asyncDispose]();
  });

  it("bring each event to the clients of both, once, and after the loss of its master go on with what is there or a gap", async () => {
    await using a = await startServer(cluster);
    await using b = await startServer(cluster);
    using onA = await follow(a.server);
    using onB = await follow(b.server);
    for (const [index, { server }] of [a, b, a].entries())
      await server.live.broadcast("a", "e", { n: index + 1 });
    for (const { story } of [onA, onB]) await vi.waitFor(() => expect(story).toEqual([1, 2, 3]), PATIENCE);

    const slot = Number(await cluster.nodes[0]?.command("CLUSTER", "KEYSLOT", `{${NAMESPACE}}`));
    const master = cluster.nodes[Math.floor((slot * 3) / 16_384)];
    await master?.kill();
    let n = 3;
    await vi.waitFor(() => {
      n += 1;
      return a.server.live.broadcast("a", "e", { n });
    }, PATIENCE);
    for (const { story } of [onA, onB]) {
      await vi.waitFor(() => expect(story.at(-1)).toBe(n), PATIENCE);
      const numbers = story.filter((item) => item !== "gap");
      expect(new Set(numbers).size).toBe(numbers.length);
      expect(numbers).toEqual([...numbers].sort((x, y) => Number(x) - Number(y)));
      expect(numbers.slice(0, 3)).toEqual([1, 2, 3]);
    }
  });
});
