import { VirtualClock } from "@holdfast/kernel/testing";
import { expectNoLeaks } from "@holdfast/testkit/vitest";
import { describe, expect, it } from "vitest";
import { createMemoryNetwork, type Link, type Transport } from "../src/index.ts";
import { echo, pair, wait } from "./fixture.ts";

expectNoLeaks();

/** Once `frozen` is set nothing passes, and no end of a link becomes known: a pulled cable. */
const freezable = (inner: Transport) => {
  const state = { frozen: false, frameCount: 0 };
  const wrap = (link: Link): Link => ({
    remoteAddress: link.remoteAddress,
    bufferedBytes: 0,
    send(frame) {
      state.frameCount += 1;
      if (!state.frozen) link.send(frame);
    },
    onDrain: (listener) => link.onDrain(listener),
    onFrame: (listener) => link.onFrame(listener),
    onClose: (listener) => link.onClose(listener),
    close: () => (state.frozen ? undefined : link.close()),
    destroy: (error) => (state.frozen ? undefined : link.destroy(error)),
  });
  const transport: Transport = {
    kind: "simulated",
    dial: async (address, options) => wrap(await inner.dial(address, options)),
    listen: (address, onLink) => inner.listen(address, (link) => onLink(wrap(link))),
  };
  return { transport, state };
};

const setup = async () => {
  const clock = new VirtualClock();
  const { transport, state } = freezable(createMemoryNetwork({ clock }));
  const both = await pair(transport, {
    clock,
    server: { heartbeatMs: 1_000 },
    client: { heartbeatMs: 1_000 },
  });
  return { clock, state, both };
};

describe("heartbeats", () => {
  it("keep an idle connection open for as long as the other side answers", async () => {
    const { clock, both } = await setup();
    await clock.advance(3_600_000);
    expect(both.client.isOpen).toBe(true);
    expect(await both.client.request(echo, { text: "a" })).toEqual({ text: "a" });
    await both[Symbol.asyncDispose]();
  });

  it("find a frozen peer within two and a half intervals and fail what is in flight", async () => {
    const { clock, state, both } = await setup();
    const asked = both.client.request(wait, { key: "k" }, { timeoutMs: 60_000 });
    const failed = expect(asked).rejects.toMatchObject({ code: "CONNECTION_LOST", retryable: false });
    await clock.advance(100);
    state.frozen = true;
    await clock.advance(1_900);
    expect(both.client.isOpen).toBe(true);
    await clock.advance(600);
    expect(both.client.isOpen).toBe(false);
    expect(both.server.peers.size).toBe(0);
    await failed;
    expect(both.onServer.aborted).toEqual(["k"]);
  });

  it("are not sent while frames flow", async () => {
    const { clock, state, both } = await setup();
    const before = state.frameCount;
    for (let index = 0; index < 100; index += 1) {
      const asked = both.client.request(echo, { text: "a" });
      await clock.advance(300);
      await asked;
    }
    expect(state.frameCount - before).toBe(200);
    await both[Symbol.asyncDispose]();
  });

  it("leave no timer behind when the connection closes", async () => {
    const { clock, both } = await setup();
    expect(clock.pendingCount).toBeGreaterThan(0);
    await both[Symbol.asyncDispose]();
    await clock.advance(5_000);
    expect(clock.pendingCount).toBe(0);
  });
});
