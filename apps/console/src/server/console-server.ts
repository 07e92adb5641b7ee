import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import fastifyStatic from "@fastify/static";
import { AddressInUseError } from "@holdfast/connection";
import type { JobsClient } from "@holdfast/jobs/client";
import type { Clock, Logger, Random } from "@holdfast/kernel";
import { UnauthenticatedError } from "@holdfast/live/model";
import { LiveServer } from "@holdfast/live/server";
import type { Scope } from "@holdfast/protocol/contract";
import fastify, { type FastifyInstance } from "fastify";
import { registerApi } from "./api.ts";
import type { TokenCheck } from "./authorization.ts";
import { ConsoleChannels, isClusterChannel } from "./console-channels.ts";
import type { DataSource } from "./data-source.ts";
import { registerMetrics } from "./metrics.ts";
import { isOwnName, mayChange, type OwnPages } from "./own-pages.ts";

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
  /** The data tier behind this process, for the page about data. Default: the page says that there is none to show. */
  readonly data?: DataSource | undefined;
  /** Page origins allowed beside the console's own, exactly as browsers send them. */
  readonly allowedOrigins?: readonly string[];
}

export interface Console {
  readonly url: string;
  close(): Promise<void>;
}

const LIVE_PATH = "/ws/broadcast";
const LOOPBACK = /^(127\.[\d.]+|localhost|\[::1\]|::1):\d+$/i;
const PAGE_MAX_COUNT = 1_000;
/** One page follows a handful of channels; more is a mistake. */
const CHANNELS_PER_PAGE = 32;
/** A page that lets this much wait to be read by it is cut off; it comes back with its positions. */
const PAGE_BACKLOG_MAX_BYTES = 16 * 1024 * 1024;

/**
 * Serves the console: the pages, a REST interface, metrics, health, and a live server over which pages follow the
 * cluster and its jobs, and an application's own channels.
 * @throws AddressInUseError naming the address.
 */
export const startConsole = async (options: ConsoleOptions): Promise<Console> => {
  const authenticate: TokenCheck = options.authenticate ?? (() => ["submit", "read", "cancel", "operate"]);
  const channels = new ConsoleChannels(options);
  const live = serveLive(options, channels);
  const pages: OwnPages = {
    allowedOrigins: options.allowedOrigins ?? [],
    onlyLocalNames: options.authenticate === undefined && LOOPBACK.test(options.listen),
  };
  const server = createServer();
  const app = fastify({
    logger: false,
    bodyLimit: 6 * 1024 * 1024,
    // An id of a job; the size of a request's head is bounded beside it.
    routerOptions: { maxParamLength: 10_000 },
    forceCloseConnections: true,
    serverFactory: (handler) => {
      server.on("request", (request, response) => {
        if (!isOwnName(request.headers.host, pages) || !live.handle(request, response))
          handler(request, response);
      });
      return server;
    },
  });
  addSecurityHeaders(app);
  refuseForeignPages(app, pages);
  registerApi(app, { client: options.client, data: options.data, authenticate });
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

  const url = await listen(app, options.listen);
  takeUpgrades(server, live, pages);
  return {
    url,
    close: async () => {
      await live.close();
      await channels.close();
      await app.close();
    },
  };
};

const serveLive = (options: ConsoleOptions, channels: ConsoleChannels): LiveServer => {
  const { authenticate, clock, random, logger } = options;
  const scopesOf = ({ claims }: { readonly claims?: unknown }): readonly Scope[] =>
    authenticate === undefined ? ["read", "operate"] : (claims as readonly Scope[]);
  return new LiveServer({
    log: channels,
    path: LIVE_PATH,
    // Another site's page must not drive this console through its visitor's browser.
    origins: options.allowedOrigins ?? [],
    sameOrigin: true,
    missingOrigin: "allow",
    limits: { channelMaxCount: CHANNELS_PER_PAGE },
    queueMaxBytes: PAGE_BACKLOG_MAX_BYTES,
    connectionMaxCount: PAGE_MAX_COUNT,
    authorize: ({ identity, action, channel }) =>
      action === "subscribe"
        ? scopesOf(identity).includes("read")
        : scopesOf(identity).includes("operate") && !isClusterChannel(channel),
    ...(authenticate === undefined
      ? {}
      : {
          authenticate: async ({ token = "" }) => {
            const scopes = authenticate({ token });
            if (!scopes?.some((scope) => scope === "read" || scope === "operate"))
              throw new UnauthenticatedError("this token may not read");
            return { claims: scopes };
          },
        }),
    clock,
    random,
    logger,
  });
};

/** Another site's page reaches a console on its visitor's machine: it gets nothing, and nothing is done for it. */
const refuseForeignPages = (app: FastifyInstance, pages: OwnPages): void => {
  app.addHook("onRequest", async ({ method, headers }, reply) => {
    const isReading = method === "GET" || method === "HEAD";
    if (isOwnName(headers.host, pages) && (isReading || mayChange(headers, pages))) return;
    const message = isOwnName(headers.host, pages)
      ? `pages of ${headers.origin} may not use this console; name their origin in allowedOrigins (--allowed-origins) if they should`
      : `this console asks for no token, so it is not served as ${headers.host}; open it as localhost, or name it in allowedOrigins (--allowed-origins)`;
    await reply.code(403).send({ error: { code: "CONSOLE_FORBIDDEN", message, retryable: false } });
  });
};

const takeUpgrades = (server: Server, live: LiveServer, pages: OwnPages): void => {
  server.on("upgrade", (request, socket, head) => {
    // Node takes its own listener off an upgraded socket, and an error that nobody hears ends the process.
    socket.on("error", () => socket.destroy());
    const refuse = (status: string): void => {
      socket.once("finish", () => socket.destroy());
      socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\n\r\n`);
    };
    if (request.url?.split("?", 1)[0] !== LIVE_PATH) refuse("404 Not Found");
    else if (!isOwnName(request.headers.host, pages)) refuse("403 Forbidden");
    else live.handleUpgrade(request, socket, head);
  });
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
