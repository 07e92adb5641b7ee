import { createHandlers, createMemoryNetwork, type Peer, serve } from "@holdfast/connection";
import { seededRandom } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { definePush, followJob, unfollowJob } from "@holdfast/protocol/contract";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { createClient } from "../../src/client/index.ts";
import { settle } from "../settle.ts";

/** The push of events as a node with a fault sends it: anything goes. */
const careless = definePush({
  name: "jobs.events",
  scope: "read",
  priority: "normal",
  payload: z.unknown(),
});

/** A node that pushes what the test says, and a watch of it. */
const setup = async () => {
  const clock = new VirtualClock();
  const transport = createMemoryNetwork({ clock });
  const handlers = createHandlers();
  const follows: { readonly offset: string | undefined; readonly subscriptionId: string }[] = [];
  let asker: Peer | undefined;
  handlers.onRequest(followJob, async ({ subscriptionId, after }, { peer }) => {
    asker = peer;
    follows.push({ offset: after?.offset, subscriptionId });
    const leader = { nodeId: "n", address: "gate:1", fence: "1" };
    return { status: "running" as const, head: { epoch: "1", offset: "0" }, leader };
  });
  handlers.onRequest(unfollowJob, async () => ({}));
  const server = await serve({
    listen: "gate:1",
    transport,
    clock,
    random: seededRandom(1),
    handlers,
    identity: { nodeId: "n", role: "gate", address: "gate:1" },
  });
  const client = createClient({ gates: ["gate:1"], transport, clock, random: seededRandom(2) });
  const seen: number[] = [];
  const watch = (async () => {
    for await (const item of client.watch("job")) if (item.kind === "event") seen.push(item.event.at);
  })();
  watch.catch(() => undefined);
  await clock.advance(10);
  const push = async (from: number, count: number, more: object = {}): Promise<void> => {
    const events = Array.from({ length: count }, (_, index) => ({
      position: { epoch: "1", offset: `${from + index}` },
      event: { type: "job.status", at: from + index, status: "running" },
    }));
    const { subscriptionId } = follows.at(-1) as (typeof follows)[number];
    asker?.push(careless, { subscriptionId, jobId: "job", events, end: false, ...more });
    await clock.advance(10);
  };
  return {
    clock,
    follows,
    seen,
    watch,
    push,
    [Symbol.asyncDispose]: async () => {
      await settle(clock, client.close());
      await settle(clock, server.close({ drainMs: 0 }));
    },
  };
};

const upTo = (last: number) => Array.from({ length: last }, (_, index) => index + 1);

describe("pushes of events", () => {
  it("of none, one and a thousand events are taken; one of 1001 is refused whole and made up for", async () => {
    await using t = await setup();
    await t.push(1, 0);
    await t.push(1, 1);
    await t.push(2, 1_000);
    expect(t.seen).toEqual(upTo(1_001));
    await t.push(1_002, 1_001);
    expect(t.seen.length).toBe(1_001);
    // What follows shows the gap; the watch asks for what it misses.
    await t.push(2_003, 1);
    expect(t.follows.at(-1)?.offset).toBe("1001");
    await t.push(1_002, 1_000);
    await t.push(2_002, 2, { end: true });
    await settle(t.clock, t.watch);
    expect(t.seen).toEqual(upTo(2_003));
  });

  it("that are broken, or of a watch that nobody knows, harm no other", async () => {
    await using t = await setup();
    await t.push(1, 2);
    await t.push(3, 1, { events: "garbage" });
    await t.push(3, 1, { jobId: 7 });
    await t.push(3, 1, {
      events: [
        { position: { epoch: "1", offset: "3" }, event: { type: "job.status", at: 3, status: "odd" } },
      ],
    });
    await t.push(3, 1, { subscriptionId: "sub-unknown", jobId: "another" });
    expect(t.seen).toEqual([1, 2]);
    await t.push(3, 1, { end: true });
    await settle(t.clock, t.watch);
    expect(t.seen).toEqual([1, 2, 3]);
  });

  it("of a type that a later version added keep their place, and are not asked for again", async () => {
    await using t = await setup();
    await t.push(1, 2);
    await t.push(3, 1, {
      events: [{ position: { epoch: "1", offset: "3" }, event: { type: "job.moved", to: "elsewhere" } }],
    });
    await t.push(4, 1, { end: true });
    await settle(t.clock, t.watch);
    expect(t.seen).toEqual([1, 2, 4]);
    expect(t.follows.length).toBe(1);
  });

  it("change nothing after the end", async () => {
    await using t = await setup();
    await t.push(1, 1, { end: true });
    await settle(t.clock, t.watch);
    await t.push(2, 5);
    expect(t.seen).toEqual([1]);
    expect(t.follows.length).toBe(1);
  });

  it("put off the question after silence, each of them", async () => {
    await using t = await setup();
    for (let round = 1; round <= 10; round += 1) {
      await t.clock.advance(9_000);
      await t.push(round, 1);
    }
    expect(t.follows.length).toBe(1);
    await t.clock.advance(9_900);
    expect(t.follows.length).toBe(1);
    await t.clock.advance(200);
    expect(t.follows.length).toBe(2);
  });
});
