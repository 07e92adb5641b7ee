import { type Clock, seededRandom, systemClock } from "@holdfast/kernel";
import { definePush, defineRequest } from "@holdfast/protocol/contract";
import { z } from "zod";
import {
  connect,
  createHandlers,
  type EndpointOptions,
  type Handlers,
  type Link,
  type Peer,
  type ServerOptions,
  serve,
  type Transport,
} from "../src/index.ts";

export const echo = defineRequest({
  name: "test.echo",
  scope: "read",
  priority: "normal",
  idempotent: true,
  input: z.object({ text: z.string(), repeat: z.number().int().min(1).default(1) }),
  output: z.object({ text: z.string() }),
});

/** Answers when it is told to. */
export const wait = defineRequest({
  name: "test.wait",
  scope: "read",
  priority: "normal",
  idempotent: false,
  input: z.object({ key: z.string() }),
  output: z.object({ key: z.string() }),
});

export const note = definePush({
  name: "test.note",
  scope: "read",
  priority: "low",
  payload: z.object({ text: z.string() }),
});

export const operate = defineRequest({
  name: "test.operate",
  scope: "operate",
  priority: "critical",
  idempotent: false,
  input: z.object({}),
  output: z.object({}),
});

/** Handlers for the messages above, and what they saw. */
export const recordingHandlers = () => {
  const notes: string[] = [];
  const calls: string[] = [];
  const aborted: string[] = [];
  const waiting = new Map<string, () => void>();
  const handlers = createHandlers();
  handlers.onRequest(echo, async ({ text, repeat }) => {
    calls.push(text);
    return { text: text.repeat(repeat) };
  });
  handlers.onRequest(wait, ({ key }, { signal }) => {
    calls.push(key);
    return new Promise((resolve, reject) => {
      waiting.set(key, () => resolve({ key }));
      signal.addEventListener("abort", () => {
        aborted.push(key);
        reject(signal.reason);
      });
    });
  });
  handlers.onRequest(operate, async () => ({}));
  handlers.onPush(note, ({ text }) => {
    notes.push(text);
  });
  return { handlers, notes, calls, aborted, waiting };
};

export const endpoint = (
  transport: Transport,
  options: { readonly clock?: Clock; readonly handlers?: Handlers; readonly nodeId?: string } = {},
): EndpointOptions => ({
  clock: options.clock ?? systemClock,
  random: seededRandom(1),
  transport,
  identity: { nodeId: options.nodeId ?? "node", role: "test" },
  ...(options.handlers === undefined ? {} : { handlers: options.handlers }),
});

/** A server and one client of it, over any transport. */
export const pair = async (
  transport: Transport,
  options: {
    readonly clock?: Clock;
    readonly server?: Partial<ServerOptions>;
    readonly client?: Partial<EndpointOptions> & { readonly credential?: { readonly token: string } };
  } = {},
) => {
  const onServer = recordingHandlers();
  const onClient = recordingHandlers();
  const accepted: Peer[] = [];
  const clock = options.clock ?? systemClock;
  const server = await serve({
    ...endpoint(transport, { clock, handlers: onServer.handlers, nodeId: "server" }),
    listen: "127.0.0.1:0",
    onPeer: (peer) => accepted.push(peer),
    ...options.server,
  });
  const client = await connect({
    ...endpoint(transport, { clock, handlers: onClient.handlers, nodeId: "client" }),
    address: server.address,
    ...options.client,
  }).catch(async (error: unknown) => {
    await server.close();
    throw error;
  });
  return {
    server,
    client,
    accepted,
    onServer,
    onClient,
    async [Symbol.asyncDispose]() {
      await client.close();
      await server.close({ drainMs: 100 });
    },
  };
};

/** The transport, and every link that was dialled over it. */
export const capturing = (
  transport: Transport,
): { readonly transport: Transport; readonly links: Link[] } => {
  const links: Link[] = [];
  return {
    links,
    transport: {
      kind: transport.kind,
      listen: (address, onLink) => transport.listen(address, onLink),
      dial: async (address, options) => {
        const link = await transport.dial(address, options);
        links.push(link);
        return link;
      },
    },
  };
};
