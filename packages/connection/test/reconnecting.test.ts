import { type Logger, silentLogger, systemClock } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { expectNoLeaks } from "@holdfast/testkit/vitest";
import { describe, expect, it, vi } from "vitest";
import {
  createMemoryNetwork,
  type Peer,
  type ReconnectingOptions,
  reconnecting,
  type ServerOptions,
  serve,
  tcpTransport,
} from "../src/index.ts";
import { capturing, echo, endpoint, recordingHandlers } from "./fixture.ts";

expectNoLeaks();

const setup = (options: Partial<ReconnectingOptions> = {}) => {
  const clock = new VirtualClock();
  const { transport, links } = capturing(createMemoryNetwork({ clock }));
  const start = (listen: string, authenticate = true, more: Partial<ServerOptions> = {}) => {
    const { handlers } = recordingHandlers();
    return serve({
      ...endpoint(transport, { clock, handlers, nodeId: listen }),
      listen,
      authenticate: () => (authenticate ? ["read"] : undefined),
      ...more,
    });
  };
  const link = reconnecting({
    ...endpoint(transport, { clock }),
    addresses: ["a:1", "b:1", "c:1"],
    ...options,
  });
  return { clock, links, start, link };
};

describe("reconnecting", () => {
  it("finds the one live address of several", async () => {
    const { clock, start, link } = setup();
    await start("c:1");
    await clock.advanceUntil(() => link.current !== undefined, 10_000);
    expect(link.current?.remote.nodeId).toBe("c:1");
    expect(link.lastError).toBeUndefined();
    await link.close();
  });

  it("waits for a node that starts later, and says meanwhile why there is no connection", async () => {
    const { clock, start, link } = setup();
    const peer = link.peer();
    await clock.advance(60_000);
    expect(link.lastError).toMatchObject({ code: "CONNECTION_REFUSED" });
    await start("b:1");
    await clock.advance(20_000);
    expect((await peer).remote.nodeId).toBe("b:1");
    await link.close();
  });

  it("outlives what it calls and the server calls when that fails later, and logs why", async () => {
    const errors: unknown[] = [];
    const logger: Logger = {
      ...silentLogger,
      error: (fields, message) => void errors.push([message, fields]),
    };
    const fail = async (): Promise<void> => {
      await Promise.resolve();
      throw new Error("no room");
    };
    const { clock, start, link, links } = setup({ onDisconnected: fail, logger });
    const server = await start("a:1", true, { onPeer: fail, logger });
    await clock.advanceUntil(() => link.current !== undefined, 10_000);
    links.at(-1)?.destroy(new Error("cut"));
    await clock.advanceUntil(() => server.peers.size === 1 && errors.length > 2, 10_000);
    expect(errors.slice(0, 2)).toEqual([
      ["onPeer failed", { err: expect.objectContaining({ message: "no room" }), peer: expect.any(String) }],
      ["onDisconnected failed", { err: expect.objectContaining({ message: "no room" }) }],
    ]);
    expect(link.current?.isOpen).toBe(true);
    await link.close();
  });

  it("comes back after the connection broke, to the last address that worked", async () => {
    const lost = vi.fn();
    const { clock, start, link, links } = setup({ onDisconnected: lost });
    await start("b:1");
    await clock.advanceUntil(() => link.current !== undefined, 10_000);
    await start("a:1");
    const first = link.current;
    links.at(-1)?.destroy(new Error("cut"));
    await clock.advance(0);
    expect(link.current).toBeUndefined();
    expect(lost).toHaveBeenCalledWith(expect.objectContaining({ message: "cut" }));
    await clock.advance(200);
    expect(link.current?.id).not.toBe(first?.id);
    expect(link.current?.remote.nodeId).toBe("b:1");
    await link.close();
  });

  it("looks for another connection when one is lost while its owner still greets it", async () => {
    const greeted: string[] = [];
    const { clock, start, link, links } = setup({
      onConnected: (peer) => {
        greeted.push(peer.id);
        return greeted.length === 1 ? new Promise<void>(() => undefined) : undefined;
      },
    });
    await start("a:1");
    await clock.advanceUntil(() => greeted.length === 1, 10_000);
    links.at(-1)?.destroy(new Error("cut"));
    await clock.advanceUntil(() => link.current !== undefined, 10_000);
    expect(greeted).toEqual([expect.any(String), link.current?.id]);
    await link.close();
  });

  it("goes on to the next address when one takes connections and drops them, and does not storm it", async () => {
    const { clock, start, link } = setup();
    let droppedCount = 0;
    await start("a:1", true, {
      onPeer: (peer) => {
        droppedCount += 1;
        clock.schedule(5, () => void peer.close());
      },
    });
    await clock.advance(60_000);
    expect(droppedCount).toBeGreaterThan(5);
    expect(droppedCount).toBeLessThan(60);
    await start("b:1");
    await clock.advanceUntil(() => link.current?.remote.nodeId === "b:1", 20_000);
    await link.close();
  });

  it("moves on when the node says goodbye, before it is gone", async () => {
    const { clock, start, link } = setup();
    const first = await start("a:1");
    await start("b:1");
    await clock.advanceUntil(() => link.current?.remote.nodeId === "a:1", 10_000);
    const closing = first.close();
    await clock.advanceUntil(() => link.current?.remote.nodeId === "b:1", 10_000);
    await closing;
    await link.close();
  });

  it("prepares each connection before anyone who waited may use it", async () => {
    const order: string[] = [];
    const { clock, start, link } = setup({
      onConnected: async (peer: Peer) => {
        await peer.request(echo, { text: "register" });
        order.push("registered");
      },
    });
    const used = link.peer().then(() => order.push("used"));
    await start("a:1");
    await clock.advance(10_000);
    await used;
    expect(order).toEqual(["registered", "used"]);
    await link.close();
  });

  it("tries again when the preparation fails", async () => {
    let callCount = 0;
    const { clock, start, link } = setup({
      onConnected: () => {
        callCount += 1;
        if (callCount < 3) throw new Error("not yet");
      },
    });
    await start("a:1");
    await clock.advance(30_000);
    expect(callCount).toBe(3);
    expect(link.current).toBeDefined();
    await link.close();
  });

  it("goes to new addresses at once, whatever it was waiting for", async () => {
    const { clock, start, link } = setup({ addresses: ["nowhere:1"] });
    await clock.advance(120_000);
    await start("a:1");
    link.setAddresses(["a:1"]);
    await clock.advance(1);
    expect(link.current?.remote.nodeId).toBe("a:1");
    await start("b:1");
    link.setAddresses(["b:1"]);
    await clock.advance(200);
    expect(link.current?.remote.nodeId).toBe("b:1");
    await link.close();
  });

  it("never tries faster than its backoff allows when it is refused", async () => {
    const { clock, start, link, links } = setup({ addresses: ["a:1"] });
    await start("a:1", false);
    await clock.advance(60_000);
    expect(link.lastError).toMatchObject({ code: "AUTHENTICATION_FAILED" });
    // Full jitter below 5 s is 2.5 s on average.
    expect(links.length).toBeLessThan(60);
    expect(links.length).toBeGreaterThan(10);
    await link.close();
  });

  it("ends those who wait when it is closed, aborted waiters alone when they abort, and leaves no timer", async () => {
    const { clock, link } = setup();
    const controller = new AbortController();
    const aborted = expect(link.peer({ signal: controller.signal })).rejects.toThrow("enough");
    const waiting = expect(link.peer()).rejects.toMatchObject({ code: "KERNEL_CLOSED" });
    await clock.advance(1_000);
    controller.abort(new Error("enough"));
    await aborted;
    await link.close();
    await waiting;
    await link.close();
    await expect(link.peer()).rejects.toMatchObject({ code: "KERNEL_CLOSED" });
    expect(clock.pendingCount).toBe(0);
  });

  it("survives restarts of a real server on the same port", async () => {
    const transport = tcpTransport();
    const { handlers } = recordingHandlers();
    let server = await serve({ ...endpoint(transport, { handlers }), listen: "127.0.0.1:0" });
    const { address } = server;
    const link = reconnecting({ ...endpoint(transport), clock: systemClock, addresses: [address] });
    for (let restart = 0; restart < 3; restart += 1) {
      const peer = await link.peer();
      expect(await peer.request(echo, { text: "a" })).toEqual({ text: "a" });
      await server.close({ drainMs: 1_000 });
      await vi.waitFor(() => expect(link.current).toBeUndefined());
      server = await serve({ ...endpoint(transport, { handlers }), listen: address });
    }
    const peer = await link.peer();
    expect(await peer.request(echo, { text: "b" })).toEqual({ text: "b" });
    await link.close();
    await server.close();
  });

  it("refuses an empty list of addresses", () => {
    const clock = new VirtualClock();
    expect(() =>
      reconnecting({ ...endpoint(createMemoryNetwork({ clock }), { clock }), addresses: [] }),
    ).toThrowError(expect.objectContaining({ code: "KERNEL_INVALID_INPUT" }));
  });
});
