import { connect, createServer, type Socket } from "node:net";
import { systemClock } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import { createFaultProxy, type FaultProxy, waitUntil } from "../src/index.ts";
import { expectNoLeaks } from "../src/vitest/index.ts";

interface Client {
  readonly socket: Socket;
  received: string;
  chunkCount: number;
  closed: boolean;
  ended: boolean;
  errorCode: string | undefined;
}

const openClient = (port: number): Client => {
  const socket = connect({ host: "127.0.0.1", port, allowHalfOpen: true });
  const client: Client = {
    socket,
    received: "",
    chunkCount: 0,
    closed: false,
    ended: false,
    errorCode: undefined,
  };
  socket.on("data", (bytes) => {
    client.received += bytes.toString();
    client.chunkCount += 1;
  });
  socket.on("end", () => {
    client.ended = true;
  });
  socket.on("close", () => {
    client.closed = true;
  });
  socket.on("error", (error: NodeJS.ErrnoException) => {
    client.errorCode = error.code;
  });
  return client;
};

/** A server that gives back what it gets, with a proxy in front of it. */
const setup = async () => {
  const accepted = new Set<Socket>();
  let received = 0;
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    accepted.add(socket);
    socket.on("error", () => undefined);
    socket.on("close", () => accepted.delete(socket));
    socket.on("data", (bytes) => {
      received += bytes.length;
      socket.write(bytes);
    });
    socket.on("end", () => socket.end());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" && address ? address.port : 0;
  const proxy = await createFaultProxy({ target: { port } });
  const clients: Client[] = [];
  return {
    proxy,
    accepted,
    received: () => received,
    client: async (via: FaultProxy = proxy): Promise<Client> => {
      const client = openClient(via.port);
      clients.push(client);
      client.socket.write("hi");
      await waitUntil("the echo", () => client.received === "hi" || client.errorCode !== undefined);
      return client;
    },
    async [Symbol.asyncDispose]() {
      for (const client of clients) client.socket.destroy();
      await proxy[Symbol.asyncDispose]();
      await new Promise((resolve) => server.close(resolve));
    },
  };
};

describe("createFaultProxy", () => {
  expectNoLeaks();

  it("passes bytes and closes both ways while nothing is wrong", async () => {
    await using harness = await setup();
    const client = await harness.client();
    client.socket.end();
    await waitUntil("the close", () => client.closed);
    expect(client.errorCode).toBeUndefined();
    await waitUntil("the link to be gone", () => harness.proxy.openCount === 0);
    expect(harness.proxy.passedBytes).toEqual({ toTarget: 2, toClient: 2 });
  });

  it("delays by the latency, each way", async () => {
    await using harness = await setup();
    const client = await harness.client();
    harness.proxy.set({ latencyMs: 40 });
    const sentAt = systemClock.monotonicNow();
    client.socket.write("!");
    await waitUntil("the echo", () => client.received === "hi!", { intervalMs: 1 });
    expect(systemClock.monotonicNow() - sentAt).toBeGreaterThanOrEqual(79);
  });

  it("keeps the order under jitter", async () => {
    await using harness = await setup();
    const client = await harness.client();
    harness.proxy.set({ jitterMs: 5, sliceBytes: 3 });
    const text = Array.from({ length: 200 }, (_, index) => `${index},`).join("");
    for (const part of text.match(/.{1,7}/g) ?? []) client.socket.write(part);
    await waitUntil("all of it", () => client.received.length === text.length + 2);
    expect(client.received).toBe(`hi${text}`);
    expect(client.chunkCount).toBeGreaterThan(20);
  });

  it("lets what was sent apart arrive in one piece", async () => {
    await using harness = await setup();
    const client = await harness.client();
    harness.proxy.set({ glueMs: 150 }, "toClient");
    for (const part of ["a", "b", "c"]) {
      const received = harness.received();
      client.socket.write(part);
      await waitUntil("it to be received", () => harness.received() > received, { intervalMs: 1 });
    }
    await waitUntil("all of it", () => client.received === "hiabc");
    expect(client.chunkCount).toBe(2);
  });

  it("lets no more bytes through than the bandwidth", async () => {
    await using harness = await setup();
    const client = await harness.client();
    harness.proxy.set({ bytesPerSecond: 100_000, sliceBytes: 1_000 }, "toTarget");
    const sentAt = systemClock.monotonicNow();
    client.socket.write("x".repeat(10_000));
    await waitUntil("all of it", () => client.received.length === 10_002, { intervalMs: 1 });
    expect(systemClock.monotonicNow() - sentAt).toBeGreaterThanOrEqual(85);
  });

  it("holds everything back while cut, closes included, and delivers it when healed", async () => {
    await using harness = await setup();
    const client = await harness.client();
    harness.proxy.set({ cut: true });
    client.socket.write("lost?");
    client.socket.end();
    harness.proxy.set({ cut: false }, "toClient");
    expect(harness.received()).toBe(2);
    await harness.proxy.heal();
    await waitUntil("the echo", () => client.received === "hilost?" && client.ended);
  });

  it("lets requests arrive while only the answers are cut", async () => {
    await using harness = await setup();
    const client = await harness.client();
    harness.proxy.set({ cut: true }, "toClient");
    client.socket.write("!");
    await waitUntil("the request", () => harness.received() === 3);
    expect(client.received).toBe("hi");
    await harness.proxy.heal();
    await waitUntil("the answer", () => client.received === "hi!");
  });

  it("holds back the sender of more than the queue takes", async () => {
    await using harness = await setup();
    const client = await harness.client();
    harness.proxy.set({ cut: true });
    const block = Buffer.alloc(1_048_576);
    for (let count = 0; count < 32; count++) client.socket.write(block);
    await waitUntil("the sender to wait", () => client.socket.writableLength > 0);
    await harness.proxy.heal();
    await waitUntil("all of it", () => harness.received() === 32 * 1_048_576 + 2);
  });

  it("does not tell the server of a client that died during a cut until it is healed", async () => {
    await using harness = await setup();
    const client = await harness.client();
    harness.proxy.set({ cut: true });
    client.socket.resetAndDestroy();
    await waitUntil("the client to be gone", () => client.closed);
    expect(harness.accepted.size).toBe(1);
    await harness.proxy.heal();
    await waitUntil("the server to be told", () => harness.accepted.size === 0);
  });

  it("resets both ends", async () => {
    await using harness = await setup();
    const client = await harness.client();
    harness.proxy.reset();
    await waitUntil("the reset", () => client.errorCode === "ECONNRESET");
    await waitUntil("the server to be told", () => harness.accepted.size === 0);
    expect(harness.proxy.openCount).toBe(0);
  });

  it("leaves the client with a connection that nobody answers", async () => {
    await using harness = await setup();
    const client = await harness.client();
    harness.proxy.halfOpen();
    await waitUntil("the server to lose it", () => harness.accepted.size === 0);
    client.socket.write("anybody?");
    await waitUntil("the bytes to leave", () => client.socket.writableLength === 0);
    expect(client.closed).toBe(false);
    expect(client.errorCode).toBeUndefined();
    expect(client.received).toBe("hi");
  });

  it("breaks a connection in the middle of what it carries", async () => {
    await using harness = await setup();
    const client = await harness.client();
    harness.proxy.resetAfter(4, "toTarget");
    client.socket.write("0123456789");
    await waitUntil("the reset", () => client.closed);
    expect(harness.received()).toBe(6);
  });

  it("delays the close after the last byte", async () => {
    await using harness = await setup();
    const client = await harness.client();
    harness.proxy.set({ closeDelayMs: 60 }, "toClient");
    const sentAt = systemClock.monotonicNow();
    client.socket.end("!");
    await waitUntil("the echo", () => client.received === "hi!");
    await waitUntil("the end", () => client.ended, { intervalMs: 1 });
    expect(systemClock.monotonicNow() - sentAt).toBeGreaterThanOrEqual(59);
  });

  it("refuses new connections and keeps the open ones, then accepts again on the same port", async () => {
    await using harness = await setup();
    const client = await harness.client();
    await harness.proxy.refuse();
    expect((await harness.client()).errorCode).toBe("ECONNREFUSED");
    client.socket.write("!");
    await waitUntil("the echo", () => client.received === "hi!");
    await harness.proxy.heal();
    expect((await harness.client()).errorCode).toBeUndefined();
  });

  it("refuses faults that make no sense", async () => {
    await using harness = await setup();
    expect(() => harness.proxy.set({ latencyMs: -1 })).toThrow(/latencyMs/);
    expect(() => harness.proxy.set({ bytesPerSecond: 0 })).toThrow(/bytesPerSecond/);
  });
});
