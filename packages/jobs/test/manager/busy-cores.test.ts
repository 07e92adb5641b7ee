import { getCluster } from "@holdfast/protocol/contract";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Manager } from "../../src/manager/index.ts";
import { Cluster } from "./cluster.ts";

describe("the cores that a worker has busy", () => {
  let cluster: Cluster;
  beforeEach(() => {
    cluster = new Cluster();
  });
  afterEach(() => cluster.close());

  /** A worker of eight cores at two managers; the first leads a job and has given it three shards of it. */
  const setUp = async () => {
    const first = await cluster.manager("m1");
    const second = await cluster.manager("m2");
    const worker = await cluster.worker(first, "w1");
    await worker.attach(second);
    const client = await cluster.client(first);
    const { jobId } = await client.submit([{ name: "a", shards: 3 }]);
    const held = await worker.claimAll(3, first);
    const viewOf = async (manager: Manager) => {
      const { datacenters } = await cluster.run(worker.peer(manager).request(getCluster, {}));
      const [view] = datacenters;
      return { busy: view?.workers.map(({ busyCores }) => busyCores), free: view?.availableCores };
    };
    return { first, second, worker, jobId, held, viewOf };
  };

  it("are known to every manager as soon as the worker registers again, whoever gave it its shards", async () => {
    const { first, second, worker, held, viewOf } = await setUp();
    worker.busyCores = held.length;
    for (const manager of [first, second]) {
      await worker.register(manager);
      expect(await viewOf(manager)).toEqual({ busy: [3], free: 5 });
    }
    // The first hears of them by their ids too, and counts none twice.
    await worker.progress(
      held.map((assignment) => ({ assignment })),
      { manager: first },
    );
    expect(await viewOf(first)).toEqual({ busy: [3], free: 5 });
    for (const assignment of held) await worker.complete(assignment, {}, first);
    expect(await viewOf(first)).toEqual({ busy: [0], free: 8 });
    worker.busyCores = 0;
    await worker.register(second);
    expect(await viewOf(second)).toEqual({ busy: [0], free: 8 });
  });

  it("are counted once at the manager that comes to know of the shards by their ids", async () => {
    const { second, worker, held, viewOf } = await setUp();
    worker.busyCores = held.length;
    await worker.register(second);
    await worker.renew(held.slice(0, 2), second);
    expect(await viewOf(second)).toEqual({ busy: [2], free: 6 });
    await worker.register(second);
    expect(await viewOf(second)).toEqual({ busy: [3], free: 5 });
  });
});
