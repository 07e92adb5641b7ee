import type { IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import fastifyStatic from "@fastify/static";
import { AddressInUseError } from "@holdfast/connection";
import type { JobsClient } from "@holdfast/jobs/client";
import type { Clock, Logger, Random } from "@holdfast/kernel";
import type { Scope } from "@holdfast/protocol/contract";
import fastify, { type FastifyInstance } from "fastify";
import { WebSocketServer } from "ws";
import { registerApi } from "./api.ts";
import { bearerToken, type TokenCheck } from "./authorization.ts";
import { ChannelHub } from "./channel-hub.ts";
import { registerMetrics } from "./metrics.ts";
import { servePage } from "./page-socket.ts";

export interface ConsoleOptions {
  /** Where the console's data comes from. The console does not close it. */
  readonly client: JobsClient;
  /** `host:port`; port 0 takes a free one. */
  readonly listen: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Who may do what, by token. Default: everything, which is only right on loopback. */
  readonly authenticate?: (
    credential: { readonly token: string } | undefined,
  ) => readonly Scope[] | undefined;
  /** Page origins allowed beside the console's own, exactly as browsers send them. */
  readonly allowedOrigins?: readonly string[];
}

export interface Console {
  readonly url: string;
  close(): Promise<void>;
}

/** A page sends small messages only; more is an attack or a mistake. */
const PAGE_MESSAGE_MAX_BYTES = 64 * 1024;
const PAGE_MAX_COUNT = 1_000;

/**
 * Serves the console: the pages, a REST interface, metrics, health, and the WebSocket over which pages follow
 * the cluster and its jobs.
 * @throws AddressInUseError naming the address.
 */
export const startConsole = async (options: ConsoleOptions): Promise<Console> => {
  const authenticate: TokenCheck = options.authenticate ?? (() => ["submit", "read", "cancel", "operate"]);
  const app = fastify({ logger: false, bodyLimit: 6 * 1024 * 1024, forceCloseConnections: true });
  addSecurityHeaders(app);
  registerApi(app, { client: options.client, authenticate });
  registerMetrics(app, { client: options.client, authenticate });
  await app.register(fastifyStatic, {
    root: fileURLToPath(new URL("../../dist/web", import.meta.url)),
    wildcard: false,
  });
  // The page routes by itself: any other path without a file gets the page.
  app.setNotFoundHandler((request, reply) => {
    if (request.url.startsWith("/api/"))
      return reply
        .code(404)
        .send({ error: { code: "CONSOLE_NOT_FOUND", message: `no such path: ${request.url}` } });
    return reply.sendFile("index.html");
  });

  const hub = new ChannelHub(options);
  const sockets = new WebSocketServer({ noServer: true, maxPayload: PAGE_MESSAGE_MAX_BYTES });
  const url = await listen(app, options.listen);
  app.server.on("upgrade", (request, socket, head) => {
    // Node takes its own listener off an upgraded socket, and an error that nobody hears ends the process.
    socket.on("error", () => socket.destroy());
    const refusal = refuseUpgrade(request, options.allowedOrigins ?? [], sockets.clients.size);
    if (refusal !== undefined) {
      socket.end(`HTTP/1.1 ${refusal}\r\nConnection: close\r\n\r\n`);
      return;
    }
    sockets.handleUpgrade(request, socket, head, (page) => {
      servePage(page, {
        hub,
        authenticate,
        token: bearerToken(request.headers.authorization),
        logger: options.logger,
      });
    });
  });
  return {
    url,
    close: async () => {
      for (const page of sockets.clients) page.close(1001, "the console is shutting down");
      await hub.close();
      sockets.close();
      for (const page of sockets.clients) page.terminate();
      await app.close();
    },
  };
};

const listen = async (app: FastifyInstance, address: string): Promise<string> => {
  const colon = address.lastIndexOf(":");
  const host = address.slice(0, colon).replace(/^\[|\]$/g, "");
  try {
    await app.listen({ host, port: Number(address.slice(colon + 1)) });
  } catch (error) {
    await app.close();
    if ((error as NodeJS.ErrnoException).code === "EADDRINUSE")
      throw new AddressInUseError(address, { cause: error });
    throw error;
  }
  const { port } = app.server.address() as AddressInfo;
  return `http://${host.includes(":") ? `[${host}]` : host}:${port}`;
};

/** Another site's page must not drive this console through its visitor's browser. */
const refuseUpgrade = (
  request: IncomingMessage,
  allowed: readonly string[],
  pageCount: number,
): string | undefined => {
  if (request.url?.split("?", 1)[0] !== "/ws") return "404 Not Found";
  const { origin, host } = request.headers;
  if (
    origin !== undefined &&
    origin !== `http://${host}` &&
    origin !== `https://${host}` &&
    !allowed.includes(origin)
  )
    return "403 Forbidden";
  return pageCount >= PAGE_MAX_COUNT ? "503 Service Unavailable" : undefined;
};

const addSecurityHeaders = (app: FastifyInstance): void => {
  app.addHook("onSend", async (_request, reply) => {
    reply.header("x-content-type-options", "nosniff");
    reply.header("referrer-policy", "no-referrer");
    // uPlot positions its canvas and legend with inline styles.
    reply.header(
      "content-security-policy",
      "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self' ws: wss:; frame-ancestors 'none'; base-uri 'none'",
    );
  });
};
