import { createMemoryNetwork, type Link, type Transport } from "@holdfast/connection";
import { seededRandom } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import { createClient } from "../../src/client/index.ts";
import { settle } from "../settle.ts";
import { logLine, ScriptedCluster, ScriptedNode } from "./scripted-node.ts";

/** Nodes that hang take connections (their kernel does) and answer nothing. */
const withHanging = (
  transport: Transport,
): { readonly transport: Transport; readonly hanging: Set<string> } => {
  const hanging = new Set<string>();
  const through = (link: Link, address: string): Link => ({
    remoteAddress: link.remoteAddress,
    bufferedBytes: 0,
    send: (frame) => {
      if (!hanging.has(address)) link.send(frame);
    },
    onDrain: (listener) => link.onDrain(listener),
    onFrame: (listener) =>
      link.onFrame((frame) => {
        if (!hanging.has(address)) listener(frame);
      }),
    onClose: (listener) => link.onClose(listener),
    close: () => link.close(),
    destroy: (error) => link.destroy(error),
  });
  return {
    hanging,
    transport: {
      ...transport,
      dial: async (address, options) => through(await transport.dial(address, options), address),
    },
  };
};

const setUp = async () => {
  const clock = new VirtualClock();
  const network = createMemoryNetwork({ clock });
  const { transport, hanging } = withHanging(network);
  const cluster = new ScriptedCluster(clock);
  const gates = ["gate-0:7401", "gate-1:7401", "gate-2:7401"];
  for (const address of gates) await ScriptedNode.start(cluster, network, address);
  const client = createClient({ gates, transport, clock, random: seededRandom(3), clientId: "tester" });
  const { jobId } = await settle(clock, client.submit({ workflows: [{ workflow: "w", input: {} }] }));
  const serving = () => cluster.nodes.find((node) => node.feed.stats().subscriptions > 0)?.address ?? "";
  const newClient = () =>
    createClient({ gates, transport, clock, random: seededRandom(1), clientId: "other", deadlineMs: 5_000 });
  return {
    clock,
    cluster,
    client,
    newClient,
    jobId,
    hanging,
    serving,
    [Symbol.asyncDispose]: async () => {
      hanging.clear();
      await settle(clock, client.close());
      for (const node of cluster.nodes) await settle(clock, node.kill());
      await cluster.store.close();
    },
  };
};

describe("a gate that hangs without closing its connections", () => {
  it("is left for another within five seconds, without gap or repeat", async () => {
    await using t = await setUp();
    const seen: { what: string; at: number }[] = [];
    const watch = (async () => {
      for await (const item of t.client.watch(t.jobId)) {
        const what = item.kind === "event" && item.event.type === "log" ? item.event.message : `${item.kind}`;
        seen.push({ what, at: t.clock.monotonicNow() });
      }
    })();
    await t.clock.advance(100);
    const first = t.serving();
    t.hanging.add(first);
    const hangsAt = t.clock.monotonicNow();
    await t.cluster.append(t.jobId, logLine("meanwhile"));
    await t.clock.advance(20_000);
    const told = seen.find(({ what }) => what === "meanwhile");
    expect((told?.at ?? Number.NaN) - hangsAt).toBeLessThanOrEqual(5_500);
    await t.cluster.finish(t.jobId);
    await settle(t.clock, watch);
    expect(seen.map(({ what }) => what)).toEqual(["event", "connection", "connection", "meanwhile", "event"]);
  });

  it("is asked about its jobs again only after the others, until it answers", async () => {
    await using t = await setUp();
    await settle(t.clock, t.client.get(t.jobId));
    const before = t.cluster.nodes.map((node) => node.callers.length);
    const first = t.cluster.nodes[before.findIndex((count) => count > 0)]?.address ?? "";
    t.hanging.add(first);
    await t.clock.advance(6_000);
    // Its connection is gone by now: nobody waits five seconds for a new one to it.
    const askedAt = t.clock.monotonicNow();
    await settle(t.clock, t.client.get(t.jobId));
    expect(t.clock.monotonicNow() - askedAt).toBeLessThan(1_000);
  });

  it.each([
    "gate-0",
    "gate-1",
    "gate-2",
  ])("does not use up the time of a call that others answer: %s", async (name) => {
    await using t = await setUp();
    t.hanging.add(`${name}:7401`);
    const client = t.newClient();
    const askedAt = t.clock.monotonicNow();
    await settle(t.clock, client.list());
    expect(t.clock.monotonicNow() - askedAt).toBeLessThan(5_000);
    await settle(t.clock, client.close());
  });
});
