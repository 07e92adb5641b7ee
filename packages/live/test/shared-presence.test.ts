import { createMemoryStore } from "@holdfast/coordination/memory";
import { deferred, systemClock } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { expectNoLeaks } from "@holdfast/testkit/vitest";
import { describe, expect, it, vi } from "vitest";
import { applyPresence, type Presence } from "../src/client/index.ts";
import type { ServerFrame } from "../src/model/index.ts";
import { StoredChannelLog } from "../src/server/index.ts";
import { TestLiveServer } from "../src/testing/index.ts";
import { RawSocket } from "./raw-socket.ts";

/** Servers over one store, each with its own view of it, on one virtual clock. */
const setUp = async (serverCount: number) => {
  const store = createMemoryStore({ clock: systemClock });
  const clock = new VirtualClock();
  const logs = Array.from({ length: serverCount }, () => new StoredChannelLog({ log: store.log }));
  const servers: TestLiveServer[] = [];
  for (const log of logs) {
    const pingIntervalMs = 3_600_000;
    servers.push(await TestLiveServer.start({ log, clock, pingIntervalMs }));
  }
  return {
    clock,
    logs,
    servers: servers as [TestLiveServer, TestLiveServer, TestLiveServer],
    [Symbol.asyncDispose]: async () => {
      for (const server of servers) await server.close();
      for (const log of logs) await log.close();
      await store.close();
    },
  };
};

/** A connection that is present in the channel `room` under a name, and knows who else is. */
const present = async (server: TestLiveServer, name: string) => {
  const raw = await RawSocket.open(server);
  await raw.hello();
  raw.send({ id: 1, subscribe: [{ channel: "room", presence: { name } }] });
  await raw.frameWith("ok", 1);
  const names = (): readonly string[] => {
    let list: readonly Presence[] = [];
    for (const frame of raw.frames as unknown as ServerFrame[]) {
      if ("ok" in frame) {
        const answer = frame.channels?.[0];
        if (answer !== undefined && "present" in answer) list = answer.present ?? [];
      } else if ("presence" in frame) {
        const { join, leave } = frame.presence;
        if (join !== undefined) list = applyPresence(list, { kind: "join", presence: join });
        if (leave !== undefined) list = applyPresence(list, { kind: "leave", presence: leave });
      }
    }
    return list.map(({ data }) => String(data["name"])).sort();
  };
  return {
    raw,
    names,
    sees: (expected: readonly string[]) => vi.waitFor(() => expect(names()).toEqual(expected)),
    [Symbol.dispose]: () => raw.socket.terminate(),
  };
};

expectNoLeaks();

describe("presence over several servers", () => {
  it("tells a newcomer at once who is there on all of them, and them of the newcomer", async () => {
    await using cell = await setUp(3);
    const [a, b, c] = cell.servers;
    using ann = await present(a, "ann");
    using bob = await present(b, "bob");
    expect(bob.names()).toEqual(["ann", "bob"]);
    await ann.sees(["ann", "bob"]);
    using cleo = await present(c, "cleo");
    expect(cleo.names()).toEqual(["ann", "bob", "cleo"]);
    for (const other of [ann, bob]) await other.sees(["ann", "bob", "cleo"]);
  });

  it("tells of who leaves, also the last one on a server", async () => {
    await using cell = await setUp(2);
    const [a, b] = cell.servers;
    using ann = await present(a, "ann");
    using bob = await present(b, "bob");
    using ben = await present(b, "ben");
    await ann.sees(["ann", "ben", "bob"]);
    bob.raw.socket.terminate();
    await ann.sees(["ann", "ben"]);
    ben.raw.socket.terminate();
    await ann.sees(["ann"]);
    using back = await present(b, "back");
    expect(back.names()).toEqual(["ann", "back"]);
    await ann.sees(["ann", "back"]);
  });

  it("forgets a server that crashed, with all on it, after a minute", async () => {
    await using cell = await setUp(2);
    const [a, b] = cell.servers;
    using ann = await present(a, "ann");
    using bob = await present(b, "bob");
    await ann.sees(["ann", "bob"]);
    // From here on the second server says nothing more, as one that was killed.
    await cell.logs[1]?.close();
    await cell.clock.advance(50_000);
    expect(ann.names()).toEqual(["ann", "bob"]);
    await cell.clock.advance(40_000);
    await ann.sees(["ann"]);
    expect(bob.names()).toContain("bob");
  });

  it("is kept up by what servers say again and again, for as long as it lasts", async () => {
    await using cell = await setUp(2);
    const [a, b] = cell.servers;
    using ann = await present(a, "ann");
    using bob = await present(b, "bob");
    for (let minutes = 0; minutes < 5; minutes += 1) {
      // Each refresh goes through the store, in real time.
      for (let part = 0; part < 3; part += 1) {
        const before = (await cell.logs[0]?.bounds("\u0001presence\u0001room"))?.head.offset ?? 0n;
        await cell.clock.advance(25_000);
        await vi.waitFor(async () => {
          const head = (await cell.logs[0]?.bounds("\u0001presence\u0001room"))?.head.offset ?? 0n;
          expect(head - before).toBeGreaterThanOrEqual(2n);
        });
      }
    }
    expect([ann.names(), bob.names()]).toEqual([
      ["ann", "bob"],
      ["ann", "bob"],
    ]);
  });

  it("never shows in the channel itself, and cannot be listened to by clients", async () => {
    await using cell = await setUp(2);
    const [a, b] = cell.servers;
    using ann = await present(a, "ann");
    using bob = await present(b, "bob");
    await ann.sees(["ann", "bob"]);
    ann.raw.send({ id: 2, subscribe: ["\u0001presence\u0001room"] });
    expect(await ann.raw.frameWith("ok", 2)).toMatchObject({
      channels: [{ state: "refused", error: { code: "LIVE_INVALID_CHANNEL" } }],
    });
    expect(bob.raw.frames.filter((frame) => "event" in frame)).toEqual([]);
    expect((await cell.logs[0]?.bounds("room"))?.head.offset).toBe(0n);
  });

  it("learns of the others later where the store failed when the first one came", async () => {
    await using cell = await setUp(2);
    const [a, b] = cell.servers;
    const log = cell.logs[1] as StoredChannelLog;
    const follow = log.follow.bind(log);
    let failuresLeft = 1;
    log.follow = async (channel, ...rest) => {
      if (channel !== "room" && failuresLeft-- > 0) throw new Error("the store is away");
      return follow(channel, ...rest);
    };
    using ann = await present(a, "ann");
    using bob = await present(b, "bob");
    expect(bob.names()).toEqual(["bob"]);
    await cell.clock.advance(25_000);
    await bob.sees(["ann", "bob"]);
    ann.raw.socket.terminate();
    await bob.sees(["bob"]);
  });

  it("does not take who comes back at once for gone, however slow the store is", async () => {
    await using cell = await setUp(2);
    const [a, b] = cell.servers;
    using ann = await present(a, "ann");
    const log = cell.logs[1] as StoredChannelLog;
    const publish = log.publish.bind(log);
    const held = deferred<void>();
    using bob = await present(b, "bob");
    await ann.sees(["ann", "bob"]);
    log.publish = async (drafts, ...rest) => {
      if (drafts[0]?.event === "gone") await held.promise;
      return publish(drafts, ...rest);
    };
    bob.raw.socket.terminate();
    await vi.waitFor(() => expect(b.live.subscriberCount("room")).toBe(0));
    using back = await present(b, "back");
    held.resolve();
    await ann.sees(["ann", "back"]);
    // What was said before that has passed through the store by then.
    await log.publish([{ channel: "room", event: "e", payloadText: "{}", id: "e-1" }]);
    await ann.raw.frameWith("event", "e");
    await vi.waitFor(async () => {
      const { head } = await log.bounds("\u0001presence\u0001room");
      expect(head.offset).toBeGreaterThanOrEqual(4n);
    });
    for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    expect([ann.names(), back.names()]).toEqual([
      ["ann", "back"],
      ["ann", "back"],
    ]);
  });
});
