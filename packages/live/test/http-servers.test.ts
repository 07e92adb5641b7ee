import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { expectNoLeaks } from "@holdfast/testkit/vitest";
import express from "express";
import fastify from "fastify";
import { describe, expect, it, vi } from "vitest";
import { WebSocket } from "ws";
import { BroadcastClient } from "../src/client/index.ts";
import { LiveServer, MemoryChannelLog } from "../src/server/index.ts";

/** How an application puts the live server into its own HTTP server; `close` closes the application's part. */
type Mount = (live: LiveServer) => Promise<{ readonly server: Server; close(): Promise<void> }>;

const onLoopback = (server: Server): Promise<void> =>
  new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const closing = (server: Server): Promise<void> => new Promise((resolve) => server.close(() => resolve()));

const MOUNTS: Readonly<Record<string, Mount>> = {
  "node:http": async (live) => {
    const server = createServer((request, response) => {
      if (live.handle(request, response)) return;
      response.writeHead(request.url === "/own" ? 200 : 404).end("own");
    });
    live.attach(server);
    await onLoopback(server);
    return { server, close: () => closing(server) };
  },
  Fastify: async (live) => {
    const app = fastify({
      serverFactory: (handler) =>
        createServer((request, response) => {
          if (!live.handle(request, response)) handler(request, response);
        }),
    });
    app.get("/own", () => "own");
    live.attach(app.server);
    await app.listen({ port: 0, host: "127.0.0.1" });
    return { server: app.server, close: () => app.close() };
  },
  Express: async (live) => {
    const app = express();
    // Before any body parser: the live server reads its own.
    app.use((request, response, next) => {
      if (!live.handle(request, response)) next();
    });
    app.use(express.json());
    app.get("/own", (_request, response) => void response.send("own"));
    const server = createServer(app);
    live.attach(server);
    await onLoopback(server);
    return { server, close: () => closing(server) };
  },
};

expectNoLeaks();

describe.each(Object.entries(MOUNTS))("on %s", (_name, mount) => {
  it("broadcasts by WebSocket, by server-sent events and over HTTP, beside the application's own routes", async () => {
    await using log = new MemoryChannelLog();
    const live = new LiveServer({
      log,
      origins: [],
      missingOrigin: "allow",
      authorize: () => true,
    });
    const { server, close } = await mount(live);
    const address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    const client = new BroadcastClient(`ws://${address}/ws/broadcast`, {
      webSocket: WebSocket as never,
      tabs: false,
    });
    const seen: string[] = [];
    client.subscribe("order", ({ event }) => seen.push(event));
    client.connect();
    await client.ready("order");
    const stream = await fetch(`http://${address}/sse/broadcast?channel=order`);
    expect(stream.headers.get("content-type")).toBe("text/event-stream");
    const published = await fetch(`http://${address}/broadcast`, {
      method: "POST",
      headers: { "content-type": "application/json", connection: "close" },
      body: JSON.stringify({ channel: "order", event: "created" }),
    });
    expect([published.status, await published.json()]).toMatchObject([200, { status: "broadcasted" }]);
    await vi.waitFor(() => expect(seen).toEqual(["created"]));
    const reader = stream.body?.getReader();
    let text = "";
    while (!text.includes('"event":"created"')) {
      text += new TextDecoder().decode((await reader?.read())?.value);
    }
    await reader?.cancel();
    const ask = async (path: string): Promise<readonly [number, string]> => {
      const response = await fetch(`http://${address}${path}`, { headers: { connection: "close" } });
      return [response.status, await response.text()];
    };
    expect(await ask("/own")).toEqual([200, "own"]);
    expect((await ask("/none"))[0]).toBe(404);
    expect((await ask("/health"))[0]).toBe(200);
    client.disconnect();
    await live.close();
    server.closeAllConnections();
    await close();
  });
});
