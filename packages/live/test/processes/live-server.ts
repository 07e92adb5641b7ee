// One live server over a Redis that Sentinels name, for tests that kill it. Says `ready` when it listens.
import { createRedisStore } from "@holdfast/coordination/redis";
import { openRedis } from "@holdfast/data";
import { StoredChannelLog } from "../../src/server/index.ts";
import { TestLiveServer } from "../../src/testing/index.ts";

const { port, masterName, sentinelUrls } = JSON.parse(process.argv[2] ?? "{}") as {
  readonly port: number;
  readonly masterName: string;
  readonly sentinelUrls: readonly string[];
};
const redis = openRedis({ sentinelUrls, masterName });
const store = await createRedisStore({ redis, namespace: "loss" });
const log = new StoredChannelLog({ log: store.log, historyMaxCount: 200 });
await TestLiveServer.start({ log, port, pingIntervalMs: 2_000, pingTimeoutMs: 1_500 });
console.log("ready");
// Whoever started it may be gone without a word.
process.stdin.on("end", () => process.exit(0)).resume();
