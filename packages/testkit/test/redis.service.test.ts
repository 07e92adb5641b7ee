import { expect, it } from "vitest";
import { startRedis, startRedisCluster, startRedisSentinel, waitUntil } from "../src/index.ts";
import { describeService } from "../src/vitest/index.ts";

describeService("redis", "startRedis", () => {
  it("gives a server that answers", async () => {
    await using redis = await startRedis();
    expect(await redis.command("SET", "k", "v")).toBe("OK");
    expect(await redis.command("GET", "k")).toBe("v");
  });

  it("keeps appended writes through a crash, on the same port", async () => {
    await using redis = await startRedis({ settings: { appendonly: "yes", appendfsync: "always" } });
    await redis.command("SET", "k", "v");
    await redis.kill();
    expect(redis.running).toBe(false);
    await redis.start();
    expect(await redis.command("GET", "k")).toBe("v");
  });

  it("asks for the password when one is set", async () => {
    await using redis = await startRedis({ password: "correct horse" });
    expect(await redis.command("PING")).toBe("PONG");
    expect(redis.url).toContain("correct%20horse");
  });
});

describeService("redis", "startRedisCluster", () => {
  it("serves every slot and fails over to a replica", async () => {
    await using cluster = await startRedisCluster({ replicasPerMaster: 1 });
    expect(cluster.nodes).toHaveLength(6);
    await cluster.nodes[0]?.kill();
    await waitUntil("a replica to take over", async () =>
      String(await cluster.nodes[3]?.command("ROLE")).startsWith("master"),
    );
    await cluster.waitUntilOk();
    await cluster.nodes[0]?.start();
    await waitUntil("the old master to follow", async () =>
      String(await cluster.nodes[0]?.command("ROLE")).startsWith("slave"),
    );
  });
});

describeService("redis", "startRedisSentinel", () => {
  it("names another master after the first is killed", async () => {
    await using group = await startRedisSentinel();
    const first = await group.master();
    expect(first).toBe(group.servers[0]);
    await first.kill();
    await waitUntil("another master", async () => (await group.master()) !== first);
  });
});
