import { describe, expect, it } from "vitest";
import { reconnectDelayMs } from "../src/client/client-options.ts";
import type { Gap } from "../src/client/index.ts";
import { setUpClient } from "./client-on-fake-sockets.ts";

const position = { epoch: "7", offset: "0" };
const event = (offset: number, rest: object = {}) => ({
  channel: "a",
  event: "e",
  payload: { n: offset },
  id: `id-${offset}`,
  epoch: "7",
  offset: `${offset}`,
  ...rest,
});

describe("BroadcastClient states", () => {
  it("goes from disconnected over connecting to connected, and tells late listeners the detail", async () => {
    const { client, states, connected } = setUpClient();
    expect(client.state).toBe("disconnected");
    await connected();
    expect(states).toEqual(["connecting", "connected"]);
    expect(client.detail).toMatchObject({ attempt: 0, terminal: false });
  });

  it("opens one socket for two connects", async () => {
    const { client, sockets, connected } = setUpClient();
    await connected();
    client.connect();
    expect(sockets).toHaveLength(1);
  });

  it("stays disconnected after a disconnect: no timer, no socket within 60 s", async () => {
    const { client, clock, sockets, states, connected } = setUpClient();
    const socket = await connected();
    client.disconnect();
    expect(socket.state).toBe("closing");
    await clock.advance(100);
    socket.finishClose(1000);
    await clock.advance(60_000);
    expect(client.state).toBe("disconnected");
    expect(sockets).toHaveLength(1);
    expect(clock.pendingCount).toBe(0);
    expect(states).toEqual(["connecting", "connected", "disconnected"]);
  });

  it("is not disturbed by a late close of the socket before", async () => {
    const { client, clock, sockets, connected } = setUpClient();
    const first = await connected();
    client.disconnect();
    const second = await connected();
    first.receive(event(1));
    first.finishClose();
    await clock.advance(30_000);
    expect(client.state).toBe("connected");
    expect(sockets).toHaveLength(2);
    expect(second.state).toBe("open");
  });

  it("doubles the delay from the base to the cap without jitter, and begins anew after a success", async () => {
    const { client, clock, sockets, socket } = setUpClient();
    const delays: number[] = [];
    client.onStateChange((state, { delayMs }) => {
      if (state === "reconnecting") delays.push(delayMs);
    });
    client.connect();
    for (let attempt = 0; attempt < 7; attempt += 1) {
      (await socket()).fail();
      await clock.advance(delays.at(-1) ?? 0);
    }
    expect(delays).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 20_000, 20_000]);
    (await socket()).welcome();
    (await socket()).fail();
    expect(delays.at(-1)).toBe(1_000);
    expect(sockets.length).toBeGreaterThan(7);
  });

  it("spreads delays by chance within the jitter, and never above the cap", () => {
    const settings = { reconnectDelay: 1_000, reconnectDelayMax: 20_000, reconnectJitter: 0.5 };
    expect(reconnectDelayMs(1, { ...settings, chance: 0 })).toBe(500);
    expect(reconnectDelayMs(1, { ...settings, chance: 0.999 })).toBe(1_499);
    expect(reconnectDelayMs(50, { ...settings, chance: 0.999 })).toBe(20_000);
  });

  it("ends disconnected after the last of a limited number of tries", async () => {
    const { client, clock, socket, sockets } = setUpClient({ maxReconnectAttempts: 2 });
    client.connect();
    for (let attempt = 0; attempt < 3; attempt += 1) {
      (await socket()).fail();
      await clock.advance(5_000);
    }
    expect(client.state).toBe("disconnected");
    expect(client.detail.terminal).toBe(true);
    expect(client.detail.reason).toContain("gave up after 2 tries");
    expect(sockets).toHaveLength(3);
    expect(clock.pendingCount).toBe(0);
  });

  it("never gives up by default", async () => {
    const { client, clock, socket } = setUpClient();
    client.connect();
    for (let attempt = 0; attempt < 40; attempt += 1) {
      (await socket()).fail();
      await clock.advance(20_000);
    }
    expect(client.state).toBe("reconnecting");
  });

  it("stays reconnecting, without a word of connecting, until it is connected again", async () => {
    const { clock, states, socket, connected } = setUpClient();
    (await connected()).fail();
    await clock.advance(1_000);
    (await socket()).fail();
    await clock.advance(2_000);
    (await socket()).welcome();
    expect(states).toEqual(["connecting", "connected", "reconnecting", "reconnecting", "connected"]);
  });

  it("cancels a pending try when disconnected", async () => {
    const { client, clock, sockets, connected } = setUpClient();
    (await connected()).fail();
    client.disconnect();
    await clock.advance(60_000);
    expect(sockets).toHaveLength(1);
    expect(clock.pendingCount).toBe(0);
  });

  it("tries at once when the network comes back or the page becomes visible", async () => {
    const { clock, sockets, connected, wake } = setUpClient();
    (await connected()).fail();
    wake();
    await clock.advance(0);
    expect(sockets).toHaveLength(2);
  });

  it("finds out on waking up that the connection died while it slept", async () => {
    const { client, clock, connected, wake } = setUpClient();
    const socket = await connected();
    wake();
    expect(socket.sentWith("ping")).toHaveLength(1);
    await clock.advance(10_000);
    expect(client.state).toBe("reconnecting");
  });

  it("stops at a terminal close code and names the reason", async () => {
    const { client, clock, sockets, connected } = setUpClient();
    const errors: string[] = [];
    client.onError((error) => errors.push(error.code));
    (await connected()).finishClose(4403, "not for you");
    await clock.advance(60_000);
    expect(client.state).toBe("disconnected");
    expect(client.detail).toMatchObject({ reason: "not for you", terminal: true });
    expect(errors).toEqual(["LIVE_CONNECTION_CLOSED"]);
    expect(sockets).toHaveLength(1);
  });

  it("notices a frozen server within ping interval and timeout", async () => {
    const { client, clock, connected } = setUpClient();
    const socket = await connected();
    await clock.advance(25_000);
    socket.receive({ ping: 1 });
    expect(socket.sentWith("pong")).toHaveLength(1);
    await clock.advance(34_999);
    expect(client.state).toBe("connected");
    await clock.advance(1);
    expect(client.state).toBe("reconnecting");
  });

  it("gives up a try that is not welcomed in time", async () => {
    const { client, clock, socket } = setUpClient();
    client.connect();
    (await socket()).accept();
    await clock.advance(10_000);
    expect(client.state).toBe("reconnecting");
  });

  it("spreads its return over what the server's bye asks for", async () => {
    const { client, connected } = setUpClient({ platform: { random: { next: () => 0.25 } } });
    const socket = await connected();
    socket.receive({ bye: { reason: "deploy", spreadMs: 8_000 } });
    socket.finishClose(4000, "deploy");
    expect(client.detail).toMatchObject({ delayMs: 2_000, reason: "deploy" });
  });

  it("fetches a token anew before every try, and never puts it into the address", async () => {
    let count = 0;
    const { clock, sockets, connected, socket } = setUpClient({
      getToken: async () => {
        count += 1;
        return `secret-${count}`;
      },
    });
    (await connected()).fail();
    await clock.advance(1_000);
    (await socket()).accept();
    expect(sockets[0]?.sentWith("hello")[0]?.hello?.token).toBe("secret-1");
    expect(sockets[1]?.sentWith("hello")[0]?.hello?.token).toBe("secret-2");
    expect(sockets.every(({ url }) => !url.includes("secret"))).toBe(true);
  });

  it("refreshes the token in-band before it ends, and keeps the socket", async () => {
    let count = 0;
    const { client, clock, sockets, socket } = setUpClient({ getToken: () => `t${++count}` });
    client.connect();
    const opened = await socket();
    opened.welcome({ time: 1_000, expiresAt: 101_000, pingIntervalMs: 1_000_000 });
    await clock.advance(80_000);
    const [refresh] = opened.sentWith("refresh");
    expect(refresh?.refresh?.token).toBe("t2");
    opened.receive({ ok: refresh?.id ?? 0, expiresAt: 181_000 });
    await clock.advance(80_000);
    expect(opened.sentWith("refresh")).toHaveLength(2);
    expect(sockets).toHaveLength(1);
  });

  it("comes back from a sleep over the end of its token with a fresh one, at once", async () => {
    let count = 0;
    const { client, clock, connected, socket, wake } = setUpClient({ getToken: () => `t${++count}` });
    const first = await connected();
    first.finishClose(4002, "expired");
    expect(client.detail).toMatchObject({ delayMs: 1_000, reason: "expired" });
    wake();
    await clock.advance(0);
    const second = await socket();
    second.accept();
    expect(second.sentWith("hello")[0]?.hello?.token).toBe("t2");
  });

  it("tries again when the token cannot be had, and stops when it is refused", async () => {
    let isDown = true;
    const { client, clock, socket } = setUpClient({
      getToken: () => {
        if (isDown) throw new Error("token service is down");
        return "t";
      },
    });
    client.connect();
    await clock.advance(0);
    expect(client.state).toBe("reconnecting");
    isDown = false;
    await clock.advance(1_000);
    (await socket()).accept();
    (await socket()).finishClose(4401, "unknown token");
    expect(client.state).toBe("disconnected");
    expect(client.detail.terminal).toBe(true);
  });
});

describe("BroadcastClient channels", () => {
  it("sends on open what was subscribed to before, in one message", async () => {
    const { client, connected } = setUpClient();
    client.subscribe("a", () => undefined);
    client.subscribe("b", () => undefined);
    const socket = await connected();
    expect(socket.sentWith("subscribe").map(({ subscribe }) => subscribe)).toEqual([
      [{ channel: "a" }, { channel: "b" }],
    ]);
  });

  it("subscribes with the first handler, unsubscribes with the last, and sends nothing in between", async () => {
    const { client, clock, connected } = setUpClient();
    const socket = await connected();
    const first = client.subscribe("a", () => undefined);
    await clock.advance(0);
    const second = client.subscribe("a", () => undefined);
    await clock.advance(0);
    first();
    first();
    await clock.advance(0);
    expect(socket.sent.filter(({ subscribe, unsubscribe }) => subscribe ?? unsubscribe)).toHaveLength(1);
    second();
    second();
    await clock.advance(0);
    expect(socket.sentWith("unsubscribe").map(({ unsubscribe }) => unsubscribe)).toEqual([["a"]]);
  });

  it("sends nothing for a subscription that is undone in the same turn", async () => {
    const { client, clock, connected } = setUpClient();
    const socket = await connected();
    client.subscribe("a", () => undefined)();
    await clock.advance(0);
    expect(socket.sentWith("subscribe")).toHaveLength(0);
    expect(socket.sentWith("unsubscribe")).toHaveLength(0);
  });

  it("subscribes all channels again in one message after a cut, each from its position", async () => {
    const { client, clock, connected, socket } = setUpClient();
    client.subscribe("a", () => undefined);
    client.subscribe("b", () => undefined);
    const first = await connected();
    first.acknowledge([
      { channel: "a", state: "new", position },
      { channel: "b", state: "new", position: { epoch: "9", offset: "4" } },
    ]);
    first.receive(event(1));
    first.fail();
    await clock.advance(1_000);
    const second = await socket();
    second.welcome();
    expect(second.sentWith("subscribe").map(({ subscribe }) => subscribe)).toEqual([
      [
        { channel: "a", position: { epoch: "7", offset: "1" } },
        { channel: "b", position: { epoch: "9", offset: "4" } },
      ],
    ]);
  });

  it("is ready only after the server acknowledged", async () => {
    const { client, clock, connected } = setUpClient();
    client.subscribe("a", () => undefined);
    const socket = await connected();
    let isReady = false;
    const ready = client.ready("a").then(() => {
      isReady = true;
    });
    await clock.advance(0);
    expect(isReady).toBe(false);
    socket.acknowledge();
    await ready;
    await client.ready("a");
  });

  it("tells who waits for a channel that the server refuses it", async () => {
    const { client, connected } = setUpClient();
    const errors: unknown[] = [];
    client.onError((error, channel) => errors.push([error.code, channel]));
    client.subscribe("a", () => undefined);
    const socket = await connected();
    const ready = client.ready("a");
    const error = { code: "LIVE_FORBIDDEN", message: "no", retryable: false };
    socket.acknowledge([{ channel: "a", state: "refused", error }]);
    await expect(ready).rejects.toMatchObject({ code: "LIVE_FORBIDDEN" });
    expect(errors).toEqual([["LIVE_FORBIDDEN", "a"]]);
    expect(client.state).toBe("connected");
  });

  it("calls the other handlers when one throws, and reports it", async () => {
    const { client, connected } = setUpClient();
    const seen: string[] = [];
    const errors: string[] = [];
    client.onError((error) => errors.push(error.code));
    client.subscribe("a", () => {
      throw new Error("broken");
    });
    client.subscribe("a", () => seen.push("second"));
    const socket = await connected();
    socket.acknowledge();
    socket.receive(event(1, { epoch: "1" }));
    expect(seen).toEqual(["second"]);
    expect(errors).toEqual(["LIVE_HANDLER_FAILED"]);
  });

  it("lets state listeners be many, and leave at any time, also while they are called", async () => {
    const { client, connected } = setUpClient();
    const calls: string[] = [];
    const removeSecond: { current?: () => void } = {};
    const removeFirst = client.onStateChange((state) => {
      calls.push(`first ${state}`);
      removeFirst();
      removeSecond.current?.();
    });
    removeSecond.current = client.onStateChange((state) => calls.push(`second ${state}`));
    client.onStateChange((state) => calls.push(`third ${state}`));
    await connected();
    expect(calls).toEqual(["first connecting", "second connecting", "third connecting", "third connected"]);
  });

  it("is not broken by frames that are not JSON, of wrong types or unknown", async () => {
    const { client, connected } = setUpClient();
    const payloads: unknown[] = [];
    client.subscribe("a", ({ payload }) => payloads.push(payload));
    const socket = await connected();
    for (const text of [
      "",
      "{",
      "null",
      "7",
      "[]",
      "{}",
      '{"channel":7,"event":"e"}',
      '{"channel":"a"}',
      '{"welcome":7}',
      '{"unknown":{}}',
    ]) {
      socket.receiveText(text);
    }
    socket.receiveText('{"channel":"a","event":"e"}');
    socket.receiveText('{"channel":"a","event":"e","payload":[1]}');
    expect(payloads).toEqual([{}, {}]);
    expect(client.state).toBe("connected");
  });

  it("drops a repeat, asks for a hole, and keeps the order", async () => {
    const { client, connected } = setUpClient();
    const seen: unknown[] = [];
    client.subscribe("a", ({ offset, via }) => seen.push([offset, via]));
    const socket = await connected();
    socket.acknowledge([{ channel: "a", state: "new", position }]);
    socket.receive(event(1));
    socket.receive(event(1));
    socket.receive(event(3));
    socket.receive(event(4));
    expect(socket.sentWith("subscribe").map(({ subscribe }) => subscribe)).toEqual([
      [{ channel: "a" }],
      [{ channel: "a", position: { epoch: "7", offset: "1" } }],
    ]);
    const answer = {
      channel: "a",
      state: "recovered",
      position: { epoch: "7", offset: "1" },
      upTo: "4",
    } as const;
    socket.acknowledge([answer]);
    for (const offset of [2, 3, 4, 5]) socket.receive(event(offset));
    expect(seen).toEqual([
      ["1", "socket"],
      ["2", "recovery"],
      ["3", "recovery"],
      ["4", "recovery"],
      ["5", "socket"],
    ]);
  });

  it("announces a hole that the server cannot fill, instead of asking for ever", async () => {
    const { client, connected } = setUpClient();
    const gaps: Gap[] = [];
    const seen: unknown[] = [];
    client.onGap((gap) => gaps.push(gap));
    client.subscribe("a", ({ offset }) => seen.push(offset));
    const socket = await connected();
    socket.acknowledge([{ channel: "a", state: "new", position }]);
    for (let round = 0; round < 3; round += 1) {
      socket.receive(event(5));
      socket.acknowledge();
    }
    expect(gaps).toEqual([]);
    socket.receive(event(5));
    expect(gaps).toEqual([{ channel: "a", reason: "hole" }]);
    expect(seen).toEqual(["5"]);
  });

  it("announces a gap once when the server lost the position, and goes on from the new one", async () => {
    const { client, connected } = setUpClient();
    const gaps: Gap[] = [];
    const seen: unknown[] = [];
    client.onGap((gap) => gaps.push(gap));
    client.subscribe("a", ({ offset }) => seen.push(offset));
    const socket = await connected();
    socket.acknowledge([
      { channel: "a", state: "reset", reason: "trimmed", position: { epoch: "7", offset: "9" } },
    ]);
    socket.receive(event(10));
    socket.receive({
      reset: { channel: "a", reason: "epoch-changed", position: { epoch: "8", offset: "2" } },
    });
    socket.receive(event(3, { epoch: "8" }));
    expect(gaps.map(({ reason }) => reason)).toEqual(["trimmed", "epoch-changed"]);
    expect(seen).toEqual(["10", "3"]);
  });

  it("tells that a channel begins, also after a cut before the first answer, and not when it goes on", async () => {
    const { client, clock, connected, socket } = setUpClient();
    const begun: string[] = [];
    client.onBegin((channel) => begun.push(channel));
    client.subscribe("a", () => undefined);
    (await connected()).fail();
    await clock.advance(1_000);
    (await socket()).welcome();
    await clock.advance(0);
    expect(begun).toEqual([]);
    (await socket()).acknowledge();
    expect(begun).toEqual(["a"]);
    (await socket()).fail();
    await clock.advance(1_000);
    (await socket()).welcome();
    await clock.advance(0);
    (await socket()).acknowledge();
    expect(begun).toEqual(["a"]);
  });

  it("does not know what became of an event whose answer was lost", async () => {
    const { client, connected } = setUpClient();
    await expect(client.publish("a", "e")).rejects.toMatchObject({ code: "LIVE_NOT_CONNECTED" });
    const socket = await connected();
    const publishing = client.publish("a", "e");
    socket.fail();
    await expect(publishing).rejects.toMatchObject({ code: "KERNEL_OUTCOME_UNKNOWN" });
  });

  it("asks again for a channel that the server could not serve just now", async () => {
    const { client, clock, connected } = setUpClient();
    client.subscribe("a", () => undefined);
    const socket = await connected();
    const error = { code: "KERNEL_TIMEOUT", message: "slow", retryable: true };
    const ready = client.ready("a");
    socket.acknowledge([{ channel: "a", state: "refused", error }]);
    await clock.advance(5_000);
    expect(socket.sentWith("subscribe")).toHaveLength(2);
    socket.acknowledge();
    await ready;
  });
});
