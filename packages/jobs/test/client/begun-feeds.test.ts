import { createMemoryNetwork } from "@holdfast/connection";
import { seededRandom } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { submitJob } from "@holdfast/protocol/contract";
import { describe, expect, it } from "vitest";
import { Caller } from "../../src/caller/caller.ts";
import { resolveClientOptions } from "../../src/client/client-options.ts";
import { settle } from "../settle.ts";
import { logLine, ScriptedCluster, ScriptedNode } from "./scripted-node.ts";

/** A caller as a gate has one, and a job that it has submitted together with a subscription for all events. */
const setUp = async () => {
  const clock = new VirtualClock();
  const transport = createMemoryNetwork({ clock });
  const cluster = new ScriptedCluster(clock);
  const managers = ["east-1:7411", "east-2:7411"];
  for (const address of managers) (await ScriptedNode.start(cluster, transport, address)).opensFeeds = true;
  const random = seededRandom(5);
  const caller = new Caller(resolveClientOptions({ managers, transport, clock, random, clientId: "gate" }));
  const feed = caller.openFeed();
  const { output, peer } = await settle(
    clock,
    caller.ask(submitJob, {
      jobId: "job-1",
      idempotencyKey: "gate:1",
      spec: { name: "n", workflows: [{ id: "wf-1", name: "w", workflow: "w", input: {} }] },
      follow: { subscriptionId: feed.subscriptionId, want: "events" },
    }),
  );
  const taker = cluster.nodes.find(({ submissions }) => submissions.length > 0) as ScriptedNode;
  const seen: string[] = [];
  const done = (async () => {
    for await (const items of caller.followBatches("job-1", { begun: { feed, peer } })) {
      for (const item of items) {
        if (item.kind === "connection") seen.push(item.state);
        else if (item.kind === "event")
          seen.push(item.event.type === "log" ? item.event.message : item.event.type);
      }
    }
  })();
  done.catch(() => undefined);
  return {
    clock,
    cluster,
    output,
    taker,
    opened: taker.feeds[0],
    seen,
    done,
    [Symbol.asyncDispose]: async () => {
      await settle(clock, caller.close());
      for (const node of cluster.nodes) await settle(clock, node.kill());
      await cluster.store.close();
    },
  };
};

describe("a subscription that begins with the answer to a submission", () => {
  it("brings every event without another question, and ends after the last", async () => {
    await using t = await setUp();
    expect(t.output).toMatchObject({ jobId: "job-1", followed: true });
    expect(t.opened?.want).toBe("events");
    t.opened?.push([logLine("a"), logLine("b")]);
    await t.clock.advance(10);
    t.opened?.push([logLine("c")], { end: true });
    await settle(t.clock, t.done);
    expect(t.seen).toEqual(["a", "b", "c"]);
    expect(t.taker.followCount).toBe(0);
  });

  it("goes on from its position, at another node too, when its connection or a push is lost", async () => {
    await using t = await setUp();
    // The log as it is stored: job.status, then these.
    await t.cluster.append("job-1", logLine("a"), logLine("b"));
    t.opened?.push([{ type: "job.status", at: 0, status: "submitted" }]);
    t.opened?.push([logLine("b")], { lostCount: 1 });
    await t.clock.advanceUntil(() => t.seen.length === 3, 20_000);
    expect(t.seen).toEqual(["job.status", "a", "b"]);
    await settle(t.clock, t.taker.kill());
    await t.clock.advanceUntil(() => t.seen.includes("restored"), 20_000);
    await t.cluster.finish("job-1");
    await settle(t.clock, t.done);
    expect(t.seen).toEqual(["job.status", "a", "b", "lost", "restored", "job.result"]);
  });
});
