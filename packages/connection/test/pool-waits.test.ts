import { expect, it } from "vitest";
import { poolSetup } from "./pool-fixture.ts";

it.each([
  Number.NaN,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
])("an acquire that would wait %d ms is refused, whether a connection is idle or not", async (timeoutMs) => {
  const { pool } = poolSetup({ maxCount: 1 });
  const refused = { code: "KERNEL_INVALID_INPUT", field: "timeoutMs", retryable: false };
  await expect(pool.acquire({ timeoutMs })).rejects.toMatchObject(refused);
  const lease = await pool.acquire({ timeoutMs: 0 });
  await expect(pool.acquire({ timeoutMs })).rejects.toMatchObject(refused);
  expect(pool.stats).toMatchObject({ waiting: 0, leased: 1 });
  lease.release();
  await expect(pool.acquire({ timeoutMs })).rejects.toMatchObject(refused);
  expect(pool.stats).toMatchObject({ leased: 0, idle: 1 });
  await pool.close();
});
