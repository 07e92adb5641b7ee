import { seededRandom } from "@holdfast/kernel";
import { describeService } from "@holdfast/testkit/vitest";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { ClusterDatabase } from "../src/index.ts";
import { type Fault, FaultyCluster } from "./failover/faulty-cluster.ts";
import { Ledger } from "./failover/ledger.ts";
import { failOver } from "./failover/run-failovers.ts";

/** The leader's key lives 5 s here. A busy machine takes its time to promote; what is ours is a fraction of a second. */
const OUTAGE_MAX_MS = 5_000 + 7_000;

const SHORT: readonly Fault[] = [
  "kill -9 of PostgreSQL and Patroni",
  "SIGSTOP of everything",
  "cut from etcd",
];

describeService("patroni", "failover under load, with synchronous replication", () => {
  let cluster: FaultyCluster;
  let database: ClusterDatabase;
  beforeAll(async () => {
    cluster = await FaultyCluster.start();
    database = await cluster.open();
  });
  afterAll(async () => {
    await database?.close({ graceMs: 0 });
    await cluster?.[Symbol.asyncDispose]();
  });

  it("loses no acknowledged write, keeps no refused one, lets no session see time run back, and writes go on", async () => {
    const ledger = new Ledger(database, seededRandom(1));
    await ledger.start(6);
    for (const fault of SHORT) {
      const { outageMs, from, to } = await failOver(cluster, database, ledger, fault);
      expect(to, fault).not.toBe(from);
      expect(outageMs, fault).toBeLessThan(OUTAGE_MAX_MS);
    }
    await cluster.untilReady();
    const counts = await ledger.finish();
    expect(ledger.violations).toEqual([]);
    expect(counts.acknowledged).toBeGreaterThan(100);
    expect(counts.reads).toBeGreaterThan(50);
    const history = await database.history();
    expect(history.map(({ timeline }) => timeline)).toEqual([1, 2, 3]);
  }, 120_000);
});
