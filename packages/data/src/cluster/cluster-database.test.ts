import { seededRandom, silentLogger } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { expect, it, vi } from "vitest";
import { type PoolSettings, readPoolOptions } from "../postgres/open-postgres.ts";
import { type ClusterParts, ClusterRouter, ClusterStatements } from "./cluster-database.ts";
import type { NodePool } from "./node-pools.ts";

it("a switchover waits for the owner of a connection that was asked for before it and came after", async () => {
  const clock = new VirtualClock();
  const pool: PoolSettings = readPoolOptions({ clock, random: seededRandom(1), logger: silentLogger });
  const router = new ClusterRouter({ pool, logger: silentLogger });
  router.use({ pool, settings: { primaryWaitMs: 1_000 }, logger: silentLogger } as ClusterParts);
  let grant = (): void => undefined;
  const granted = new Promise<void>((resolve) => {
    grant = resolve;
  });
  const release = vi.fn();
  router.gate.open({
    database: {
      lease: async () => {
        await granted;
        return { release };
      },
    },
  } as unknown as NodePool);

  const leasing = new ClusterStatements(router).lease({});
  router.gate.pause();
  let isDrained = false;
  const drained = router.gate.drain(10_000).then(() => {
    isDrained = true;
  });
  grant();
  const lease = await leasing;
  await clock.advance(100);
  expect(isDrained).toBe(false);
  lease.release();
  await drained;
  expect(release).toHaveBeenCalledOnce();
  expect(router.gate.insideCount).toBe(0);
});
