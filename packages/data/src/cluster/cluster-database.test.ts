import { seededRandom, silentLogger } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { expect, it, vi } from "vitest";
import { ConnectError } from "../errors.ts";
import { type PoolSettings, readPoolOptions } from "../postgres/open-postgres.ts";
import { type ClusterParts, ClusterRouter, ClusterStatements } from "./cluster-database.ts";
import type { NodePool } from "./node-pools.ts";

it("a statement that its server refuses for good is not tried again", async () => {
  const clock = new VirtualClock();
  const pool: PoolSettings = readPoolOptions({ clock, random: seededRandom(1), logger: silentLogger });
  const router = new ClusterRouter({ pool, logger: silentLogger });
  const monitor = { poke: () => undefined };
  const settings = { primaryWaitMs: 60_000 };
  router.use({ pool, settings, monitor, logger: silentLogger } as unknown as ClusterParts);
  router.gate.open({} as NodePool);
  let askedCount = 0;
  const outcome = (retryable: boolean): Promise<unknown> =>
    router
      .onPrimaryPool({ isRepeatable: true }, () => {
        askedCount += 1;
        return askedCount === 3
          ? Promise.resolve("answered")
          : Promise.reject(new ConnectError("a", "there is no database b", { retryable }));
      })
      .catch((error: { code: string }) => error.code);
  expect(await outcome(false)).toBe("SQL_CONNECT_FAILED");
  expect(askedCount).toBe(1);
  const later = outcome(true);
  await clock.advance(60);
  expect(await later).toBe("answered");
});

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
