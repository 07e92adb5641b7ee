// Changes a row in a transaction of the cache while it cannot reach Redis, and then waits to be killed.
import { openCache, openPostgres, openRedis } from "@holdfast/data";

const [postgresUrl = "", name = ""] = process.argv.slice(2);
const sql = await openPostgres({ url: postgresUrl, max: 2 });
// Nothing listens there.
const redis = openRedis({ url: "redis://127.0.0.1:1" });
const cache = await openCache({ name, redis, sql, invalidationWaitMs: 600_000, relayEveryMs: 600_000 });
console.log("ready");
await cache.transaction(async (tx, changes) => {
  await tx.query("UPDATE crash SET v = 'v2' WHERE id = 1", []);
  changes.invalidate("1");
});
