import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { WebSocket } from "ws";
import { BroadcastClient, type BroadcastEvent, type ConnectionState } from "../src/client/index.ts";
import { TestLiveServer } from "../src/testing/index.ts";

/** As code wrote it that was there before: a client of an address and nothing else, over the WebSocket of the platform. */
const waitForState = (
  client: BroadcastClient,
  targetState: ConnectionState,
  timeout: number,
): Promise<void> =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`Timeout waiting for state: ${targetState}`)), timeout);
    if (client.state === targetState) {
      clearTimeout(timer);
      resolve();
      return;
    }
    const unsub = client.onStateChange((state) => {
      if (state === targetState) {
        clearTimeout(timer);
        unsub();
        resolve();
      }
    });
  });

const trigger = async (server: TestLiveServer, body: object): Promise<unknown> => {
  const response = await fetch(`${server.httpUrl}/test/broadcast`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  return response.json();
};

describe("code written for the first BroadcastClient", () => {
  let server: TestLiveServer;
  let client: BroadcastClient;
  beforeAll(async () => {
    vi.stubGlobal("WebSocket", WebSocket);
    server = await TestLiveServer.start();
    client = new BroadcastClient(server.url);
    client.connect();
  });
  afterAll(async () => {
    client.disconnect();
    await server.close();
    vi.unstubAllGlobals();
  });

  it("connects to a real WebSocket server", async () => {
    await waitForState(client, "connected", 5_000);
    expect(client.state).toBe("connected");
  });

  it("subscribes and receives broadcast messages that the trigger sends", async () => {
    const events: BroadcastEvent[] = [];
    const unsubscribe = client.subscribe("integration-test", (event) => events.push(event));
    await vi.waitFor(() => expect(server.live.subscriberCount("integration-test")).toBe(1));
    expect(
      await trigger(server, {
        channel: "integration-test",
        event: "test_event",
        payload: { message: "hello" },
      }),
    ).toMatchObject({ status: "broadcasted" });
    await vi.waitFor(() => expect(events).toHaveLength(1));
    expect(events[0]).toMatchObject({
      channel: "integration-test",
      event: "test_event",
      payload: { message: "hello" },
    });
    unsubscribe();
    await vi.waitFor(() => expect(server.live.subscriberCount("integration-test")).toBe(0));
  });

  it("reconnects after disconnection", async () => {
    const states: string[] = [];
    const unsub = client.onStateChange((state) => states.push(state));
    client.disconnect();
    await waitForState(client, "disconnected", 1_000);
    client.connect();
    await waitForState(client, "connected", 5_000);
    expect(states).toContain("disconnected");
    expect(client.state).toBe("connected");
    unsub();
  });

  it("emits to other tabs in the form of an event", async () => {
    const other = new BroadcastClient(server.url);
    other.connect();
    const events: BroadcastEvent[] = [];
    other.subscribe("orders", (event) => events.push(event));
    client.emit("orders", { type: "created", entity_id: "123" });
    await vi.waitFor(() => expect(events).toHaveLength(1));
    expect(events[0]).toMatchObject({ event: "created", payload: { entity_id: "123" }, via: "tab" });
    other.disconnect();
  });
});

describe("programs that speak the first wire form by hand", () => {
  it("subscribe, receive and unsubscribe on the path /ws/broadcast, and the server counts them", async () => {
    await using server = await TestLiveServer.start();
    expect(server.url).toMatch(/\/ws\/broadcast$/);
    const sockets = [new WebSocket(server.url), new WebSocket(server.url)];
    const received: unknown[] = [];
    for (const socket of sockets) {
      socket.on("message", (data) => received.push(JSON.parse(String(data))));
      socket.on("open", () => socket.send('{"subscribe":["orders"]}'));
    }
    await vi.waitFor(() => expect(server.live.subscriberCount("orders")).toBe(2));
    await trigger(server, { channel: "orders", event: "created", payload: { entity_id: "123" } });
    await vi.waitFor(() => expect(received).toHaveLength(2));
    const event = { channel: "orders", event: "created", payload: { entity_id: "123" } };
    expect(received).toEqual([event, event]);
    sockets[0]?.send('{"unsubscribe":["orders"]}');
    await vi.waitFor(() => expect(server.live.subscriberCount("orders")).toBe(1));
    expect(await (await fetch(`${server.httpUrl}/health`)).json()).toMatchObject({ status: "ok" });
    for (const socket of sockets) socket.terminate();
  });
});
