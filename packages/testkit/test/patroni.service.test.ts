import { afterAll, beforeAll, expect, it } from "vitest";
import { type PatroniCluster, startEtcd, startPatroniCluster, waitUntil } from "../src/index.ts";
import { describeService } from "../src/vitest/index.ts";

describeService("etcd", "startEtcd", () => {
  it("starts members that outlive the loss of one", async () => {
    await using etcd = await startEtcd({ memberCount: 3 });
    const [first, second] = etcd.members;
    await first?.kill();
    const put = { key: btoa("k"), value: btoa("v") };
    await waitUntil("a write", async () => {
      const answer = await fetch(`${second?.url}/v3/kv/put`, { method: "POST", body: JSON.stringify(put) });
      return answer.ok;
    });
    await first?.start();
    await waitUntil("the member to be back", async () => (await fetch(`${first?.url}/health`)).ok);
  });
});

describeService("patroni", "startPatroniCluster", () => {
  let cluster: PatroniCluster;
  beforeAll(async () => {
    cluster = await startPatroniCluster();
  });
  afterAll(() => cluster[Symbol.asyncDispose]());

  it("replaces a leader whose machine died, and takes it back as a replica", async () => {
    const old = await cluster.waitForLeader();
    await old.sql("CREATE TABLE t AS SELECT 1 AS x");
    await old.kill();
    const next = await cluster.waitForLeader({ not: old });
    expect(await next.sql("SELECT x FROM t")).toBe("1");
    await old.start();
    await cluster.waitUntilHealthy();
    expect(await old.sql("SELECT pg_is_in_recovery()")).toBe("t");
  }, 90_000);

  it("hands leadership over when asked", async () => {
    const from = await cluster.waitForLeader();
    const to = cluster.nodes.find((node) => node !== from);
    expect(await cluster.switchover(to)).toBe(to);
    await cluster.waitUntilHealthy();
  }, 90_000);
});
