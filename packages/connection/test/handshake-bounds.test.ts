import { createServer, connect as netConnect, type Socket } from "node:net";
import { systemClock } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { encodeFrame, encodeValue, type Frame, HANDSHAKE_MAX_BYTES } from "@holdfast/protocol";
import { expectNoLeaks } from "@holdfast/testkit/vitest";
import { describe, expect, it, vi } from "vitest";
import {
  connect,
  createMemoryNetwork,
  type Link,
  parseAddress,
  serve,
  type Transport,
  tcpTransport,
} from "../src/index.ts";
import { endpoint, recordingHandlers } from "./fixture.ts";

expectNoLeaks();

const MIB = 1 << 20;

const frame = (type: Frame["type"], sequence: bigint, value: unknown): Uint8Array =>
  encodeFrame({ type, sequence, payload: encodeValue(value) }, { frameMaxBytes: 8 * MIB });

const HELLO = frame("hello", 0n, { version: "1.4", features: [] });
const READY = frame("ready", 1n, { scopes: ["read"] });
const note = (sequence: number, size: number): Uint8Array =>
  frame("push", BigInt(sequence), ["test.note", { text: "x".repeat(size) }]);

/** What became of a dialler to whom the other side says all of this, over sockets. */
const dialledOverTcp = async (said: readonly Uint8Array[]) => {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on("error", () => undefined);
    socket.resume();
    socket.write(Buffer.concat(said));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  const { handlers, notes } = recordingHandlers();
  const peer = await connect({
    ...endpoint(tcpTransport(), { handlers }),
    address: `127.0.0.1:${port}`,
    timeoutMs: 60_000,
  }).catch((error: unknown) => error);
  return {
    peer,
    notes,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
};

/** The same over a path that carries whole frames, and so may reorder them. */
const dialledOverMemory = async (said: readonly Uint8Array[], frameMaxBytes: number) => {
  const transport = createMemoryNetwork({ clock: systemClock });
  const links: Link[] = [];
  const listener = await transport.listen("127.0.0.1:7000", (link) => {
    links.push(link);
    link.onFrame(() => undefined);
    for (const bytes of said) link.send(bytes);
  });
  const { handlers, notes } = recordingHandlers();
  const peer = await connect({
    ...endpoint(transport, { handlers }),
    address: listener.address,
    frameMaxBytes,
  }).catch((error: unknown) => error);
  await listener.close();
  for (const link of links) link.destroy();
  return { peer, notes };
};

describe("before a connection is ready", () => {
  it("a dialler takes no larger frame than those of a handshake, and larger ones right after it", async () => {
    await using refused = await dialledOverTcp([HELLO, note(0, HANDSHAKE_MAX_BYTES), READY]);
    expect(refused.peer).toMatchObject({ code: "PROTOCOL_FRAME_TOO_LARGE" });
    await using taken = await dialledOverTcp([HELLO, READY, note(0, 2 * MIB)]);
    await vi.waitFor(() => expect(taken.notes.map(({ length }) => length)).toEqual([2 * MIB]));
  });

  it("a dialler keeps what overtook the end of the handshake, as much as one frame, and no byte more", async () => {
    const early = Array.from({ length: 8 }, (_, index) => note(index, 30_000));
    const size = early.reduce((sum, { length }) => sum + length, 0);
    const kept = await dialledOverMemory([HELLO, ...early, READY], size);
    await vi.waitFor(() => expect(kept.notes.length).toBe(early.length));
    const lost = await dialledOverMemory([HELLO, ...early, READY], size - 1);
    expect(lost.peer).toMatchObject({ code: "PROTOCOL_UNEXPECTED_FRAME", retryable: false });
    expect(lost.notes).toEqual([]);
  });

  it("a dialler keeps no more small frames than it says", async () => {
    const early = Array.from({ length: 1_025 }, (_, index) => note(index, 1));
    const kept = await dialledOverMemory([HELLO, ...early.slice(1), READY], 8 * MIB);
    await vi.waitFor(() => expect(kept.notes.length).toBe(1_024));
    const lost = await dialledOverMemory([HELLO, ...early, READY], 8 * MIB);
    expect(lost.peer).toMatchObject({ code: "PROTOCOL_UNEXPECTED_FRAME" });
  });

  it("a server that is full holds no large frame for whom it refuses", async () => {
    const tcp = tcpTransport({ clock: new VirtualClock() });
    const ends: (Error | undefined)[] = [];
    const transport: Transport = {
      ...tcp,
      listen: (address, onLink) =>
        tcp.listen(address, (link) => {
          link.onClose((error) => ends.push(error));
          onLink(link);
        }),
    };
    const server = await serve({ ...endpoint(transport), listen: "127.0.0.1:0", connectionMaxCount: 1 });
    const { host, port } = parseAddress(server.address);
    const peer = await connect({ ...endpoint(tcpTransport()), address: server.address });
    const refused = netConnect({ host, port, allowHalfOpen: true });
    refused.on("error", () => undefined);
    refused.resume();
    // Announces two megabytes and leaves it at that.
    refused.write(Uint8Array.of(0, 0x20, 0, 0));
    await vi.waitFor(() =>
      expect(ends).toEqual([expect.objectContaining({ code: "PROTOCOL_FRAME_TOO_LARGE" })]),
    );
    refused.destroy();
    await peer.close();
    await server.close();
  });
});
