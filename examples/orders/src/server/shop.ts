import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import fastifyStatic from "@fastify/static";
import type { SqlExecutor } from "@holdfast/coordination";
import { type Database, openCache, type Redis } from "@holdfast/data";
import { newId, systemRandom } from "@holdfast/kernel";
import { ORIGIN_CLIENT_HEADER, ORIGIN_MUTATION_HEADER } from "@holdfast/live/model";
import { type ChannelLog, LiveServer, type StoredChannelLog } from "@holdfast/live/server";
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from "fastify";
import { z } from "zod";
import { type ChangeOutcome, ORDER_CHANNEL, OrderBook, type OrderEvent } from "./order-book.ts";
import { OrderLists, parseAfter } from "./order-lists.ts";
import { Sessions } from "./sessions.ts";

export interface ShopOptions {
  /** Stays the caller's. */
  readonly sql: Database;
  /** Where several shops over one database share their cache; stays the caller's. Default: each process has its own. */
  readonly redis?: Redis;
  /**
   * How changes are told. `transaction`: the event is written with the change, so that a crash between the two cannot
   * part them; the log must be in the same database. `commit`: it is announced after the commit, into any log.
   */
  readonly signals:
    | { readonly with: "transaction"; readonly log: StoredChannelLog<SqlExecutor> }
    | { readonly with: "commit"; readonly log: ChannelLog };
  /** Default 0: a free port of loopback. */
  readonly port?: number;
  /** How long a session's token for the live connection is good, milliseconds. Default 300_000. */
  readonly tokenTtlMs?: number;
  /** How long a connection outlives its token, milliseconds. Default 25_000. */
  readonly expiryGraceMs?: number;
}

export interface Shop {
  readonly url: string;
  readonly live: LiveServer;
  /** For what a test does to connections. */
  readonly server: Server;
  /** After the orders were changed past the shop. */
  clearCache(): Promise<void>;
  close(): Promise<void>;
}

const item = z.string().trim().min(1).max(80);
const quantity = z.int().min(1).max(9_999);
const status = z.enum(["open", "shipped"]).optional();
const newOrder = z.object({ item, quantity });
const change = z.object({
  quantity: quantity.optional(),
  status,
  version: z.int(),
});

/** Serves the pages, the REST interface and the live channel of the shop from one HTTP server. */
export const startShop = async (options: ShopOptions): Promise<Shop> => {
  const { signals } = options;
  const sessions = new Sessions(options.tokenTtlMs ?? 300_000);
  const live = new LiveServer({
    log: signals.log,
    origins: [],
    sameOrigin: true,
    authenticate: async ({ token }) => sessions.check(token),
    ...(options.expiryGraceMs === undefined ? {} : { expiryGraceMs: options.expiryGraceMs }),
  });
  const cache = await openCache({ name: "orders", sql: options.sql, redis: options.redis });
  await cache.migrate();
  const book = await OrderBook.open(options.sql, cache, async (tx, event) => {
    if (signals.with === "transaction") await signals.log.publishIn(tx, [draftOf(event)]);
  });
  const afterCommit = async (
    outcome: ChangeOutcome,
    event: OrderEvent["event"],
    origin: OrderEvent["origin"],
  ) => {
    if (signals.with === "commit" && outcome.kind === "done")
      await live.announce(ORDER_CHANNEL, event, { entity_id: outcome.order.id }, { origin });
    return outcome;
  };
  const lists = new OrderLists({ cache, book, log: signals.log });
  const server = createServer();
  const app = fastify({
    serverFactory: (handler) => {
      server.on("request", (request, response) => {
        if (!live.handle(request, response)) handler(request, response);
      });
      return server;
    },
  });
  live.attach(server);
  registerRest(app, { book, lists, sessions, afterCommit });
  await app.register(fastifyStatic, { root: fileURLToPath(new URL("../../dist/web", import.meta.url)) });
  await app.listen({ host: "127.0.0.1", port: options.port ?? 0 });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    live,
    server,
    clearCache: () => cache.clear(),
    close: async () => {
      await live.close({ spreadMs: 0 });
      server.closeAllConnections();
      await app.close();
      await cache.close();
    },
  };
};

const draftOf = ({ event, entityId, origin }: OrderEvent) => ({
  channel: ORDER_CHANNEL,
  event,
  payloadText: JSON.stringify({ entity_id: entityId }),
  id: newId("e", systemRandom),
  origin,
});

const registerRest = (
  app: FastifyInstance,
  parts: {
    readonly book: OrderBook;
    readonly lists: OrderLists;
    readonly sessions: Sessions;
    readonly afterCommit: (
      outcome: ChangeOutcome,
      event: OrderEvent["event"],
      origin: OrderEvent["origin"],
    ) => Promise<ChangeOutcome>;
  },
): void => {
  const { book, lists, sessions, afterCommit } = parts;
  app.setErrorHandler((error, _request, reply) => {
    const { status, ...problem } = problemOf(error);
    return reply.code(status).send({ error: problem });
  });
  app.setNotFoundHandler((_request, reply) =>
    reply
      .code(404)
      .send({ error: { code: "SHOP_NOT_FOUND", message: "there is no such path", retryable: false } }),
  );
  // Whoever comes is let in: signing in is another example. The token is for the live connection alone.
  app.post<{ Querystring: { user?: string } }>("/api/session", ({ query }) => ({
    token: sessions.issue(query.user ?? "guest"),
  }));
  app.get<{ Querystring: { status?: string; after?: string } }>("/api/orders", ({ query }) =>
    lists.read(status.parse(query.status), parseAfter(query.after)),
  );
  app.post("/api/orders", async (request, reply) => {
    const origin = originOf(request);
    const outcome = await book.create(newOrder.parse(request.body), origin);
    return answer(reply, await afterCommit(outcome, "created", origin));
  });
  app.patch<{ Params: { id: string } }>("/api/orders/:id", async (request, reply) => {
    const origin = originOf(request);
    const outcome = await book.update(request.params.id, change.parse(request.body), origin);
    return answer(reply, await afterCommit(outcome, "updated", origin));
  });
  app.delete<{ Params: { id: string } }>("/api/orders/:id", async (request, reply) => {
    const origin = originOf(request);
    const outcome = await book.remove(request.params.id, origin);
    return answer(reply, await afterCommit(outcome, "deleted", origin));
  });
};

/** What went wrong with a request: what the caller did wrong is told with its reason, what failed here without. */
const problemOf = (
  error: unknown,
): {
  readonly status: number;
  readonly code: string;
  readonly message: string;
  readonly retryable: boolean;
} => {
  if (error instanceof z.ZodError)
    return { status: 422, code: "SHOP_INVALID_INPUT", message: z.prettifyError(error), retryable: false };
  // The HTTP server's own: a body that is no JSON (400), too long (413), or of another type (415).
  const { statusCode, message } = error as { readonly statusCode?: number; readonly message?: string };
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500)
    return { status: statusCode, code: "SHOP_BAD_REQUEST", message: message ?? "", retryable: false };
  return { status: 500, code: "SHOP_FAILED", message: "the shop failed; try again", retryable: true };
};

/** The page's own name and its mutation: they come back with the event, so that a page knows its echo. */
const originOf = ({ headers }: FastifyRequest): OrderEvent["origin"] => {
  const client = headers[ORIGIN_CLIENT_HEADER];
  const mutation = headers[ORIGIN_MUTATION_HEADER];
  return {
    ...(typeof client === "string" ? { client } : {}),
    ...(typeof mutation === "string" ? { mutation } : {}),
  };
};

const answer = (reply: FastifyReply, outcome: ChangeOutcome): FastifyReply => {
  switch (outcome.kind) {
    case "done":
      return reply.send(outcome.order);
    case "conflict":
      return reply.code(409).send(outcome.order);
    default:
      return reply
        .code(404)
        .send({ error: { code: "SHOP_NOT_FOUND", message: "there is no such order", retryable: false } });
  }
};
