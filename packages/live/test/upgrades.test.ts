import { createServer, type Server } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { expectNoLeaks } from "@holdfast/testkit/vitest";
import { describe, expect, it, vi } from "vitest";
import { UnauthenticatedError } from "../src/model/index.ts";
import { LiveServer, MemoryChannelLog } from "../src/server/index.ts";
import { TestLiveServer } from "../src/testing/index.ts";
import { RawSocket } from "./raw-socket.ts";

expectNoLeaks();

/** An HTTP server that knows of no upgrades but those of the live server. */
const startHttp = async (onUpgrade?: (socket: Socket) => void) => {
  const log = new MemoryChannelLog();
  const live = new LiveServer({ log, origins: [], missingOrigin: "allow" });
  const http: Server = createServer();
  const accepted: Socket[] = [];
  http.on("connection", (socket) => accepted.push(socket));
  live.attach(http);
  if (onUpgrade !== undefined) http.on("upgrade", (_request, socket) => onUpgrade(socket as Socket));
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
  const { port } = http.address() as AddressInfo;
  return {
    accepted,
    /** Asks for an upgrade on a path, and gives the socket. */
    upgrade: (path: string): Socket => {
      const socket = connect(port, "127.0.0.1");
      socket.on("error", () => undefined);
      socket.write(
        `GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
          "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
      );
      return socket;
    },
    async [Symbol.asyncDispose](): Promise<void> {
      await live.close();
      for (const socket of accepted) socket.destroy();
      await new Promise<void>((resolve) => http.close(() => resolve()));
      await log.close();
    },
  };
};

const answerOf = async (socket: Socket): Promise<string> => {
  let text = "";
  socket.on("data", (chunk) => {
    text += String(chunk);
  });
  await new Promise<void>((resolve) => socket.once("close", () => resolve()));
  return text;
};

describe("an upgrade on a path that is not ours", () => {
  it("is refused where nobody else takes upgrades, and its socket is let go", async () => {
    await using server = await startHttp();
    expect(await answerOf(server.upgrade("/elsewhere"))).toMatch(/^HTTP\/1\.1 404 /);
    await vi.waitFor(() => expect(server.accepted.every(({ destroyed }) => destroyed)).toBe(true));
  });

  it("is left to others that take upgrades, and a socket that breaks there does not end the process", async () => {
    const others: Socket[] = [];
    await using server = await startHttp((socket) => others.push(socket));
    const client = server.upgrade("/elsewhere");
    await vi.waitFor(() => expect(others).toHaveLength(1));
    expect(others[0]?.destroyed).toBe(false);
    client.resetAndDestroy();
    others[0]?.resume();
    await vi.waitFor(() => expect(others[0]?.destroyed).toBe(true));
  });
});

describe("the reason of a close", () => {
  it("is cut to what a close frame has room for, in bytes: the code of a longer one never came", async () => {
    await using server = await TestLiveServer.start({
      authenticate: async () => {
        throw new UnauthenticatedError("ü".repeat(119));
      },
    });
    using socket = await RawSocket.open(server);
    socket.send({ hello: { version: 2, token: "any" } });
    expect(await socket.closed).toEqual({ code: 4401, reason: "ü".repeat(61) });
    await vi.waitFor(() => expect(server.live.stats().connectionCount).toBe(0));
  });
});
