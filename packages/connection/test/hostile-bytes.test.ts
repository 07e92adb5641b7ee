import { createServer, connect as netConnect, type Socket } from "node:net";
import { systemClock } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import {
  decodeFrame,
  encodeFrame,
  encodeValue,
  FRAME_MAX_BYTES,
  type Frame,
  FrameSplitter,
} from "@holdfast/protocol";
import { expectNoLeaks } from "@holdfast/testkit/vitest";
import { describe, expect, it, vi } from "vitest";
import {
  connect,
  createHandlers,
  createMemoryNetwork,
  type Peer,
  parseAddress,
  type ServerOptions,
  serve,
  type Transport,
  tcpTransport,
} from "../src/index.ts";
import { echo, endpoint, pair, recordingHandlers } from "./fixture.ts";

expectNoLeaks();

const LIMIT = { frameMaxBytes: FRAME_MAX_BYTES };
const EMPTY = new Uint8Array(0);

const frame = (type: Frame["type"], sequence: bigint, value?: unknown): Uint8Array =>
  encodeFrame({ type, sequence, payload: value === undefined ? EMPTY : encodeValue(value) }, LIMIT);

const HELLO = frame("hello", 0n, { version: "1.4", features: [] });
const AUTHENTICATE = frame("authenticate", 1n, {});

/** A server, and raw sockets to it that speak whatever the test wants. */
const setup = async (options: Partial<ServerOptions> = {}) => {
  const recorded = recordingHandlers();
  const server = await serve({
    ...endpoint(tcpTransport(), { handlers: recorded.handlers }),
    listen: "127.0.0.1:0",
    ...options,
  });
  const sockets: Socket[] = [];
  return {
    ...recorded,
    server,
    async dial() {
      const { host, port } = parseAddress(server.address);
      const socket = netConnect({ host, port });
      sockets.push(socket);
      const received: Buffer[] = [];
      socket.on("data", (chunk) => received.push(chunk));
      socket.on("error", () => undefined);
      const closed = new Promise<void>((resolve) => socket.on("close", () => resolve()));
      await new Promise((resolve) => socket.once("connect", resolve));
      return { socket, closed, text: () => Buffer.concat(received).toString("latin1") };
    },
    /** A stranger that completed the handshake by hand. */
    async dialReady() {
      const raw = await this.dial();
      raw.socket.write(Buffer.concat([HELLO, AUTHENTICATE]));
      await vi.waitFor(() => expect(server.peers.size).toBeGreaterThan(0));
      return raw;
    },
    async expectServing() {
      const peer = await connect({ ...endpoint(tcpTransport()), address: server.address });
      expect(await peer.request(echo, { text: "ok" })).toEqual({ text: "ok" });
      await peer.close();
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await server.close({ drainMs: 10 });
    },
  };
};

const damaged = (bytes: Uint8Array): Uint8Array => {
  const copy = Uint8Array.from(bytes);
  copy[copy.length - 1] = (copy[copy.length - 1] as number) ^ 1;
  return copy;
};

describe("a server under hostile bytes", () => {
  it.each<[string, Uint8Array]>([
    ["an HTTP request", Buffer.from("GET / HTTP/1.1\r\nhost: x\r\n\r\n")],
    ["zeros", new Uint8Array(64)],
    ["a length of two gigabytes", Uint8Array.of(0x7f, 0xff, 0xff, 0xff)],
    ["a length above the limit of a stranger", Uint8Array.of(0, 2, 0, 0, 0, 0)],
    ["a frame with a wrong checksum", damaged(HELLO)],
    ["a request before the handshake", frame("request", 0n, ["test.echo", 1_000, { text: "x" }])],
    ["a credential before the hello", AUTHENTICATE],
    ["a hello that is not one", frame("hello", 0n, { version: 7 })],
    [
      "a hello of broken MessagePack",
      encodeFrame({ type: "hello", sequence: 0n, payload: Uint8Array.of(0xc1) }, LIMIT),
    ],
  ])("closes the connection of %s, and only that one", async (_name, bytes) => {
    await using both = await setup();
    const good = await connect({ ...endpoint(tcpTransport()), address: both.server.address });
    const raw = await both.dial();
    raw.socket.write(bytes);
    await raw.closed;
    expect(await good.request(echo, { text: "still" })).toEqual({ text: "still" });
    await both.expectServing();
    await good.close();
    expect(both.calls).not.toContain("x");
  });

  it.each<[string, Uint8Array]>([
    ["garbage", Buffer.from("\0\0\0\x10 garbage garbage garbage")],
    ["a wrong checksum", damaged(frame("ping", 0n))],
    ["a compressed frame that was not agreed on", compressedPing()],
    ["an answer to a request that was never sent", frame("answer", 5n, {})],
    ["a frame above the limit", Uint8Array.of(0x00, 0x90, 0, 0)],
  ])("closes a ready connection that sends %s", async (_name, bytes) => {
    await using both = await setup();
    const raw = await both.dialReady();
    raw.socket.write(bytes);
    await raw.closed;
    await vi.waitFor(() => expect(both.server.peers.size).toBe(0));
    await both.expectServing();
  });

  it("answers messages that it cannot read or does not know, at the cost of those messages alone", async () => {
    await using both = await setup();
    const raw = await both.dialReady();
    raw.socket.write(
      Buffer.concat([
        encodeFrame({ type: "request", sequence: 0n, payload: Uint8Array.of(0xc1) }, LIMIT),
        frame("request", 1n, { not: "an envelope" }),
        frame("request", 2n, ["no.such.message", 1_000, {}]),
        frame("request", 3n, ["test.echo", 1_000, { text: 7 }]),
        frame("push", 0n, ["no.such.push", {}]),
        frame("push", 1n, ["test.note", { text: 7 }]),
        frame("request", 4n, ["test.echo", 1_000, { text: "fine" }]),
      ]),
    );
    await vi.waitFor(() => expect(raw.text()).toContain("fine"));
    expect(raw.text()).toContain("PROTOCOL_SERIALIZATION");
    expect(raw.text()).toContain("PROTOCOL_UNKNOWN_MESSAGE");
    expect(raw.text().match(/PROTOCOL_INVALID_MESSAGE/g)?.length).toBe(2);
    expect(both.calls).toEqual(["fine"]);
    expect(raw.socket.destroyed).toBe(false);
  });

  it("takes what a stranger says of its wait within bounds, and refuses NaN alone", async () => {
    const waits = new Map<string, number>();
    const handlers = createHandlers();
    handlers.onRequest(echo, async ({ text }, { timeoutMs }) => {
      waits.set(text, timeoutMs);
      return { text };
    });
    await using both = await setup({ handlers });
    const raw = await both.dialReady();
    const said = [
      Number.POSITIVE_INFINITY,
      1e300,
      Number.NEGATIVE_INFINITY,
      -5,
      0.5,
      Number.NaN,
      1_000,
    ] as const;
    const frames = said.map((timeoutMs, index) =>
      frame("request", BigInt(index), ["test.echo", timeoutMs, { text: `said ${timeoutMs}` }]),
    );
    raw.socket.write(Buffer.concat(frames));
    await vi.waitFor(() => expect(raw.text()).toContain("said 1000"));
    expect([...waits]).toEqual([
      ["said Infinity", 2 ** 31 - 1],
      ["said 1e+300", 2 ** 31 - 1],
      ["said -Infinity", 0],
      ["said -5", 0],
      ["said 0.5", 0.5],
      ["said 1000", 1_000],
    ]);
    expect(raw.text().match(/PROTOCOL_INVALID_MESSAGE/g)?.length).toBe(1);
    expect(raw.socket.destroyed).toBe(false);
  });

  it("runs a request once however often its frame is repeated", async () => {
    await using both = await setup();
    const raw = await both.dialReady();
    const request = frame("request", 0n, ["test.echo", 1_000, { text: "once" }]);
    raw.socket.write(
      Buffer.concat([request, request, request, frame("request", 1n, ["test.echo", 1, { text: "end" }])]),
    );
    await vi.waitFor(() => expect(raw.text()).toContain("end"));
    expect(both.calls).toEqual(["once", "end"]);
  });

  it("serves frames that arrive byte by byte", async () => {
    await using both = await setup();
    const raw = await both.dial();
    const bytes = Buffer.concat([
      HELLO,
      AUTHENTICATE,
      frame("request", 0n, ["test.echo", 1_000, { text: "slow" }]),
    ]);
    raw.socket.setNoDelay(true);
    for (const byte of bytes) raw.socket.write(Uint8Array.of(byte));
    await vi.waitFor(() => expect(raw.text()).toContain("slow"));
    expect(both.calls).toEqual(["slow"]);
  });

  it("notices a connection that ends in the middle of a frame", async () => {
    await using both = await setup();
    const errors: (Error | undefined)[] = [];
    const raw = await both.dialReady();
    for (const peer of both.server.peers) peer.onClose((error) => errors.push(error));
    raw.socket.end(frame("ping", 0n).subarray(0, 9));
    await vi.waitFor(() => expect(errors.length).toBe(1));
    expect(errors[0]).toMatchObject({ code: "CONNECTION_LOST", reason: "it ended in the middle of a frame" });
  });

  it("closes who does not finish the handshake in time", async () => {
    const clock = new VirtualClock();
    await using both = await setup({ clock, handshakeTimeoutMs: 5_000 });
    const silent = await both.dial();
    const slow = await both.dial();
    slow.socket.write(HELLO.subarray(0, 5));
    await both.expectServing();
    await clock.advance(4_999);
    slow.socket.write(HELLO.subarray(5, 6));
    expect(silent.socket.destroyed).toBe(false);
    await clock.advance(1);
    await Promise.all([silent.closed, slow.closed]);
  });

  it("refuses connections above its limit with a reason, and serves again when one has gone", async () => {
    await using both = await setup({ connectionMaxCount: 1 });
    const first = await connect({ ...endpoint(tcpTransport()), address: both.server.address });
    await expect(
      connect({ ...endpoint(tcpTransport()), address: both.server.address }),
    ).rejects.toMatchObject({
      code: "CONNECTION_OVERLOADED",
      retryable: true,
      details: { limit: 1 },
    });
    await first.close();
    await vi.waitFor(() => expect(both.server.peers.size).toBe(0));
    await both.expectServing();
  });

  it("looks at one credential of a connection and at no other after it was refused", async () => {
    let judgedCount = 0;
    await using both = await setup({
      authenticate: () => {
        judgedCount += 1;
        return undefined;
      },
    });
    const raw = await both.dial();
    const guesses = ["a", "b", "c"].map((token) => frame("authenticate", 1n, { token }));
    raw.socket.write(Buffer.concat([HELLO, ...guesses]));
    await raw.closed;
    expect(raw.text()).toContain("AUTHENTICATION_FAILED");
    expect(judgedCount).toBe(1);
  });

  it("refuses another major version and says which one it needs", async () => {
    await using both = await setup();
    const raw = await both.dial();
    raw.socket.write(frame("hello", 0n, { version: "2.0", features: [] }));
    await raw.closed;
    expect(raw.text()).toContain("PROTOCOL_VERSION_MISMATCH");
    expect(raw.text()).toContain("requiredMajor");
  });

  it("gives up who asks without ever reading the answers", async () => {
    await using both = await setup({ sendBufferMaxBytes: 64 * 1024 });
    const raw = await both.dialReady();
    const errors: (Error | undefined)[] = [];
    for (const peer of both.server.peers) peer.onClose((error) => errors.push(error));
    raw.socket.pause();
    const text = "x".repeat(100_000);
    for (let index = 0; index < 200; index += 1) {
      raw.socket.write(frame("request", BigInt(index), ["test.echo", 1_000, { text }]));
    }
    await vi.waitFor(() => expect(errors.length).toBe(1), { timeout: 10_000 });
    expect(errors[0]).toMatchObject({ code: "CONNECTION_LOST", reason: expect.stringContaining("unread") });
    await both.expectServing();
  });
});

describe("a server whose peer reads nothing", () => {
  it.each([
    ["pings", (peer: Peer) => peer.ping()],
    ["credentials", (peer: Peer) => peer.authenticate({ token: "x" })],
  ])("gives up who sends it %s without end", async (_name, ask) => {
    const network = createMemoryNetwork({ clock: systemClock });
    const stuck = { isStuck: false, bytes: 0 };
    const transport: Transport = {
      kind: "simulated",
      dial: (address, options) => network.dial(address, options),
      listen: (address, onLink) =>
        network.listen(address, (link) => {
          const send = link.send.bind(link);
          link.send = (bytes) => {
            if (stuck.isStuck) stuck.bytes += bytes.length;
            else send(bytes);
          };
          Object.defineProperty(link, "bufferedBytes", { get: () => stuck.bytes });
          onLink(link);
        }),
    };
    const errors: unknown[] = [];
    const both = await pair(transport, {
      server: {
        sendBufferMaxBytes: 64 * 1024,
        onPeer: (peer) => void peer.onClose((error) => errors.push(error)),
      },
    });
    stuck.isStuck = true;
    const asked = Array.from({ length: 10_000 }, () => ask(both.client));
    await Promise.allSettled(asked);
    expect(errors).toEqual([expect.objectContaining({ reason: expect.stringContaining("unread") })]);
    expect(stuck.bytes).toBeLessThan(3 * 64 * 1024);
    await both[Symbol.asyncDispose]();
  });
});

describe("a dialler under hostile bytes", () => {
  const against = async (onSocket: (socket: Socket) => void) => {
    const sockets: Socket[] = [];
    const server = createServer((socket) => {
      sockets.push(socket);
      socket.on("error", () => undefined);
      socket.resume();
      onSocket(socket);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as { port: number };
    return {
      connect: (timeoutMs = 3_000) =>
        connect({ ...endpoint(tcpTransport()), clock: systemClock, address: `127.0.0.1:${port}`, timeoutMs }),
      sockets,
      async [Symbol.asyncDispose]() {
        for (const socket of sockets) socket.destroy();
        await new Promise((resolve) => server.close(resolve));
      },
    };
  };

  it.each<[string, string | RegExp, (socket: Socket) => void]>([
    [
      "speaks HTTP",
      "PROTOCOL_FRAME_TOO_LARGE",
      (socket) => void socket.write("HTTP/1.1 400 Bad Request\r\n\r\n"),
    ],
    ["sends a damaged frame", "PROTOCOL_CHECKSUM_MISMATCH", (socket) => void socket.write(damaged(HELLO))],
    ["hangs up at once", "CONNECTION_LOST", (socket) => void socket.end()],
    ["hangs up within a frame", "CONNECTION_LOST", (socket) => void socket.end(HELLO.subarray(0, 9))],
    // The reset may overtake the news that the connection stands.
    ["resets", /^CONNECTION_(LOST|NETWORK)$/, (socket) => void socket.resetAndDestroy()],
    [
      "says ready before hello",
      "PROTOCOL_UNEXPECTED_FRAME",
      (socket) => void socket.write(frame("ready", 1n, { scopes: [] })),
    ],
    [
      "speaks another major version",
      "PROTOCOL_VERSION_MISMATCH",
      (socket) => void socket.write(frame("hello", 0n, { version: "3.1", features: [] })),
    ],
  ])("fails with a typed error when the server %s", async (_name, code, onSocket) => {
    await using server = await against(onSocket);
    await expect(server.connect()).rejects.toMatchObject({ code: expect.stringMatching(code) });
    await vi.waitFor(() => expect(server.sockets.every((socket) => socket.destroyed)).toBe(true));
  });

  it("numbers its requests from 0 in steps of 1, and leaves a server that answers one never asked", async () => {
    const sequences: bigint[] = [];
    await using server = await against((socket) => {
      const splitter = new FrameSplitter(LIMIT);
      socket.on("data", (chunk) =>
        splitter.push(chunk, (bytes) => {
          const { sequence, type } = decodeFrame(bytes, LIMIT);
          if (type === "hello") socket.write(HELLO);
          if (type === "authenticate") socket.write(frame("ready", 1n, { scopes: ["read"] }));
          if (type !== "request") return;
          sequences.push(sequence);
          socket.write(frame("answer", sequence < 3n ? sequence : 99n, { text: "x" }));
        }),
      );
    });
    const peer = await server.connect();
    for (let index = 0; index < 3; index += 1) await peer.request(echo, { text: "x" });
    await expect(peer.request(echo, { text: "x" })).rejects.toMatchObject({
      code: "CONNECTION_LOST",
      cause: expect.objectContaining({ code: "PROTOCOL_UNEXPECTED_FRAME" }),
    });
    expect(sequences).toEqual([0n, 1n, 2n, 3n]);
    expect(peer.isOpen).toBe(false);
  });

  it("names host and limit when the server accepts and never answers", async () => {
    await using server = await against(() => undefined);
    await expect(server.connect(60)).rejects.toMatchObject({
      code: "CONNECTION_TIMEOUT",
      retryable: true,
      details: { timeoutMs: 60, address: expect.stringContaining("127.0.0.1:") },
    });
  });
});

function compressedPing(): Uint8Array {
  const squeeze = { name: "x", compress: () => new Uint8Array(8), decompress: () => EMPTY };
  return encodeFrame(
    { type: "ping", sequence: 0n, payload: new Uint8Array(4_000) },
    { frameMaxBytes: FRAME_MAX_BYTES, compression: squeeze },
  );
}
