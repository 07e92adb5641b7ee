import type { RedisTransaction } from "@holdfast/coordination/redis";
import { type RedisServer, startRedis } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { openRedis, type Redis } from "../src/redis/open-redis.ts";

describeService("redis", "a transaction of commands and a script", () => {
  let server: RedisServer;
  let redis: Redis;
  beforeAll(async () => {
    server = await startRedis();
    redis = openRedis({ url: server.url });
  });
  afterAll(async () => {
    await redis?.close();
    await server?.[Symbol.asyncDispose]();
  });

  const transaction = (text: string, more: Partial<RedisTransaction> = {}): RedisTransaction => ({
    commands: [["SET", "{x}bytes", Buffer.from("é\n\0")]],
    script: { name: "test", text, sha1: "" },
    keys: ["{x}bytes"],
    args: [],
    publish: ["news", "done"],
    ...more,
  });

  it("replies as the script does, which sees what the commands did, and tells of it over a connection that listens", async () => {
    const heard: string[] = [];
    await using _listening = await redis.subscribe("news", (message) => heard.push(message));
    for (let round = 1; round <= 20; round += 1) {
      const replies = await Promise.all([
        redis.runTransaction?.(transaction("return {redis.call('STRLEN', KEYS[1]), 'x'}")),
        redis.runScript({ name: "other", text: "return 'y'", sha1: "0".repeat(40) }, ["{x}"], []),
      ]);
      expect(replies).toEqual([[4, "x"], "y"]);
      await vi.waitFor(() => expect(heard).toHaveLength(round));
    }
  });

  it("rejects with what the server said of the script, or of a command that it refused, and then did none of them", async () => {
    await expect(
      redis.runTransaction?.(transaction("return redis.error_reply('NOPE it is not')")),
    ).rejects.toThrow(/^NOPE it is not/);
    await server.command("DEL", "{x}bytes");
    await expect(
      redis.runTransaction?.(
        transaction("return 1", { commands: [["SET", "{x}bytes", "a"], ["NOSUCHCOMMAND"]] }),
      ),
    ).rejects.toThrow(/^ERR unknown command/);
    expect(await server.command("EXISTS", "{x}bytes")).toBe(0);
  });
});
