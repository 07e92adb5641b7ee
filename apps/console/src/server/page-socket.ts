import { type Logger, toWireError } from "@holdfast/kernel";
import type { WebSocket } from "ws";
import { z } from "zod";
import type { ServerMessage } from "../messages.ts";
import { allows, type TokenCheck } from "./authorization.ts";
import type { ChannelHub, Snapshot } from "./channel-hub.ts";

/** One page follows a handful of channels; more is a mistake. */
const CHANNELS_PER_PAGE = 32;
/** Events that came together go out in one message of at most so many. */
const EVENTS_PER_MESSAGE = 200;
/** A page that goes on asking while this much waits to be read by it is cut off; it may come back with its positions. */
const PAGE_BACKLOG_MAX_BYTES = 8 * 1024 * 1024;

const position = z.object({ epoch: z.string().max(64), offset: z.string().max(64) });
const channel = z.string().min(1).max(10_100);
const pageMessage = z.discriminatedUnion("type", [
  z.object({ type: z.literal("auth"), token: z.string().max(4_096) }),
  z.object({ type: z.literal("subscribe"), channel, after: position.optional() }),
  z.object({ type: z.literal("unsubscribe"), channel }),
]);

/**
 * Serves one page: checks its token, and sends what it subscribes to. A page that reads slowly is sent slowly:
 * the next events are taken from the job's log only when the last ones have left, and of snapshots only the newest.
 */
export const servePage = (
  page: WebSocket,
  options: {
    readonly hub: ChannelHub;
    readonly authenticate: TokenCheck;
    readonly token: string | undefined;
    readonly logger: Logger;
  },
): void => {
  const { hub, logger } = options;
  const subscriptions = new Map<string, () => void>();
  let isAllowed = allows(options.authenticate, options.token, "read");
  const send = (message: ServerMessage): Promise<void> =>
    new Promise((resolve) => {
      if (page.readyState !== page.OPEN) resolve();
      else page.send(JSON.stringify(message), () => resolve());
    });
  const fail = (code: string, message: string, name?: string): void =>
    void send({ type: "error", error: { code, message }, ...(name === undefined ? {} : { channel: name }) });

  const unsubscribe = (name: string): void => {
    subscriptions.get(name)?.();
    subscriptions.delete(name);
  };
  const subscribe = (name: string, after: z.output<typeof position> | undefined): void => {
    unsubscribe(name);
    if (subscriptions.size >= CHANNELS_PER_PAGE) {
      fail("CONSOLE_TOO_MANY_CHANNELS", `a page may follow ${CHANNELS_PER_PAGE} channels`, name);
    } else if (hub.hasSnapshots(name)) {
      subscriptions.set(name, hub.listen(name, after, newestSnapshot(name, send)));
    } else if (name.startsWith("job:")) {
      const controller = new AbortController();
      subscriptions.set(name, () => controller.abort(new Error("unsubscribed")));
      followJob(hub, name, after, controller.signal, send).catch((error: unknown) => {
        if (controller.signal.aborted) return;
        const wire = toWireError(error);
        fail(wire.code, wire.message, name);
      });
    } else fail("CONSOLE_UNKNOWN_CHANNEL", `no channel is named ${JSON.stringify(name)}`, name);
  };

  page.on("message", (data, isBinary) => {
    if (page.bufferedAmount > PAGE_BACKLOG_MAX_BYTES) return page.terminate();
    const message = isBinary ? undefined : parse(String(data));
    if (message === undefined)
      return fail("CONSOLE_INVALID_MESSAGE", "the message is not one that this console understands");
    if (message.type === "auth") {
      isAllowed = allows(options.authenticate, message.token, "read");
      if (isAllowed) void send({ type: "ready" });
      else fail("CONSOLE_UNAUTHORIZED", "this token may not read");
      return;
    }
    if (!isAllowed) return fail("CONSOLE_UNAUTHORIZED", 'a token with the scope "read" is needed');
    if (message.type === "subscribe") subscribe(message.channel, message.after);
    else unsubscribe(message.channel);
  });
  page.on("close", () => {
    for (const end of subscriptions.values()) end();
    subscriptions.clear();
  });
  page.on("error", (error) => logger.debug({ err: error }, "a console page's connection failed"));
  if (isAllowed) void send({ type: "ready" });
  else fail("CONSOLE_UNAUTHORIZED", 'a token with the scope "read" is needed');
};

const parse = (text: string): z.output<typeof pageMessage> | undefined => {
  try {
    return pageMessage.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
};

/** Sends a snapshot once the one before has left; those that came between are skipped. */
const newestSnapshot = (
  channelName: string,
  send: (message: ServerMessage) => Promise<void>,
): ((snapshot: Snapshot) => void) => {
  let waiting: Snapshot | undefined;
  let isSending = false;
  const drain = async (): Promise<void> => {
    isSending = true;
    while (waiting !== undefined) {
      const snapshot = waiting;
      waiting = undefined;
      await send({ type: "snapshot", channel: channelName, ...snapshot });
    }
    isSending = false;
  };
  return (snapshot) => {
    waiting = snapshot;
    if (!isSending) void drain();
  };
};

type PositionedEvents = Extract<ServerMessage, { type: "events" }>["events"][number];

const followJob = async (
  hub: ChannelHub,
  channelName: string,
  after: z.output<typeof position> | undefined,
  signal: AbortSignal,
  send: (message: ServerMessage) => Promise<void>,
): Promise<void> => {
  const jobId = channelName.slice("job:".length);
  const items = hub.client.watch(jobId, { signal, ...(after === undefined ? {} : { after }) });
  let waiting: PositionedEvents[] = [];
  let sending: Promise<void> | undefined;
  const flush = async (): Promise<void> => {
    while (waiting.length > 0) {
      const events = waiting.splice(0, EVENTS_PER_MESSAGE);
      await send({ type: "events", channel: channelName, events });
    }
    sending = undefined;
  };
  for await (const item of items) {
    if (item.kind === "connection") continue;
    if (item.kind === "reset") {
      await sending;
      await send({ type: "reset", channel: channelName, reason: item.reason });
      continue;
    }
    waiting.push({ position: item.position, event: item.event });
    sending ??= flush();
    if (waiting.length >= EVENTS_PER_MESSAGE) await sending;
  }
  await sending;
  waiting = [];
  await send({ type: "end", channel: channelName });
};
