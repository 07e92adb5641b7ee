import { createPostgresStore } from "@holdfast/coordination/postgres";
import { openEmbedded, openPostgres, openRedis } from "@holdfast/data";
import { StoredChannelLog } from "@holdfast/live/server";
import { startShop } from "./shop.ts";

// DATABASE_URL names a PostgreSQL; without it the orders live in an embedded one, in .orders. REDIS_URL names a Redis for
// what several shops over one PostgreSQL keep in their cache.
const url = process.env["DATABASE_URL"];
const sql = url === undefined ? await openEmbedded({ dataDir: ".orders" }) : await openPostgres({ url });
const redisUrl = process.env["REDIS_URL"];
const redis = redisUrl === undefined ? undefined : openRedis({ url: redisUrl });
const store = await createPostgresStore({ sql, schema: "shop_live" });
const log = new StoredChannelLog({ log: store.log });
const shop = await startShop({
  sql,
  ...(redis === undefined ? {} : { redis }),
  signals: { with: "transaction", log },
  port: Number(process.env["PORT"] ?? 8_000),
});
console.log(`the shop is open: ${shop.url}`);

const stop = async (): Promise<void> => {
  await shop.close();
  await log.close();
  await store.close();
  await redis?.close();
  await sql.close();
};
process.once("SIGINT", () => void stop());
process.once("SIGTERM", () => void stop());
