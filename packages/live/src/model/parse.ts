import { toWireError, type WireError } from "@holdfast/kernel";
import { InvalidMessageError } from "../errors.ts";
import type {
  ClientFrame,
  EventOrigin,
  Hello,
  Payload,
  PublishRequest,
  ServerFrame,
  SubscribeRequest,
  WireEvent,
} from "./messages.ts";

const DECIMAL = /^\d{1,19}$/;
const CLIENT_ID = /^[A-Za-z0-9_-]{1,64}$/;
/** Longer tokens, keys and event names are a mistake. */
const TEXT_MAX_LENGTH = 8_192;

export const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const isText = (value: unknown, maxLength = TEXT_MAX_LENGTH): value is string =>
  typeof value === "string" && value !== "" && value.length <= maxLength;

/** Both parts are decimal texts, as positions travel. */
export const isWirePosition = (value: unknown): value is { epoch: string; offset: string } =>
  isObject(value) &&
  typeof value["epoch"] === "string" &&
  DECIMAL.test(value["epoch"]) &&
  typeof value["offset"] === "string" &&
  DECIMAL.test(value["offset"]);

export type Parsed<T> = { readonly frame: T } | { readonly problem: WireError; readonly id?: number };

const problem = (text: string, id?: number): Parsed<never> => ({
  problem: toWireError(new InvalidMessageError(text)),
  ...(id === undefined ? {} : { id }),
});

const parseJson = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
};

/** A client's frame in the simple form. What is not understood counts as nothing said. */
export const parseSimpleFrame = (
  text: string,
): { readonly subscribe: readonly string[]; readonly unsubscribe: readonly string[] } => {
  const value = parseJson(text);
  const names = (list: unknown): readonly string[] =>
    Array.isArray(list) ? list.filter((name) => typeof name === "string") : [];
  return isObject(value)
    ? { subscribe: names(value["subscribe"]), unsubscribe: names(value["unsubscribe"]) }
    : { subscribe: [], unsubscribe: [] };
};

/** Whether a first frame opens the second form. */
export const saysHello = (text: string): boolean => {
  const value = parseJson(text);
  return isObject(value) && isObject(value["hello"]);
};

/** A client's frame in the second form. Unknown keys are ignored; known keys of a wrong shape are a problem. */
export const parseClientFrame = (text: string): Parsed<ClientFrame> => {
  const value = parseJson(text);
  if (!isObject(value)) return problem("a frame must be one JSON object");
  const id = value["id"];
  if (id !== undefined && !(Number.isSafeInteger(id) && (id as number) >= 0)) {
    return problem("id must be a whole number of at least 0");
  }
  const frame: { -readonly [K in keyof ClientFrame]: ClientFrame[K] } = {};
  if (id !== undefined) frame.id = id as number;
  const wrong = (what: string): Parsed<never> => problem(what, frame.id);
  if (value["hello"] !== undefined) {
    const hello = parseHello(value["hello"]);
    if (hello === undefined) return wrong("hello must be {version, client?, token?}");
    frame.hello = hello;
  }
  if (value["subscribe"] !== undefined) {
    const list = value["subscribe"];
    const requests = Array.isArray(list) ? list.map(parseSubscribe) : [undefined];
    if (requests.includes(undefined)) {
      return wrong("subscribe must be a list of names or {channel, position?, token?, presence?}");
    }
    frame.subscribe = requests as SubscribeRequest[];
  }
  if (value["unsubscribe"] !== undefined) {
    const list = value["unsubscribe"];
    if (!Array.isArray(list) || !list.every((name) => typeof name === "string")) {
      return wrong("unsubscribe must be a list of names");
    }
    frame.unsubscribe = list;
  }
  if (value["publish"] !== undefined) {
    const publish = parsePublish(value["publish"]);
    if (publish === undefined)
      return wrong("publish must be {channel, event, payload, mutation?, idempotencyKey?}");
    frame.publish = publish;
  }
  if (value["refresh"] !== undefined) {
    const refresh = value["refresh"];
    if (!isObject(refresh) || !isText(refresh["token"])) return wrong("refresh must be {token}");
    frame.refresh = { token: refresh["token"] };
  }
  if (typeof value["pong"] === "number") frame.pong = value["pong"];
  if (typeof value["ping"] === "number") frame.ping = value["ping"];
  return { frame };
};

const parseHello = (value: unknown): Hello | undefined => {
  if (!isObject(value) || typeof value["version"] !== "number") return undefined;
  const { client, token } = value;
  if (client !== undefined && !(typeof client === "string" && CLIENT_ID.test(client))) return undefined;
  if (token !== undefined && !isText(token)) return undefined;
  return {
    version: value["version"],
    ...(client === undefined ? {} : { client }),
    ...(token === undefined ? {} : { token }),
  };
};

const parseSubscribe = (value: unknown): SubscribeRequest | undefined => {
  if (typeof value === "string") return { channel: value };
  if (!isObject(value) || typeof value["channel"] !== "string") return undefined;
  const { channel, position, token, presence } = value;
  if (position !== undefined && !isWirePosition(position)) return undefined;
  if (token !== undefined && !isText(token)) return undefined;
  if (presence !== undefined && !isObject(presence)) return undefined;
  return {
    channel,
    ...(position === undefined ? {} : { position: { epoch: position.epoch, offset: position.offset } }),
    ...(token === undefined ? {} : { token }),
    ...(presence === undefined ? {} : { presence }),
  };
};

const optionalText = (value: unknown): boolean => value === undefined || isText(value, 255);

/** The shape that WebSocket and HTTP share; `event_type` and `entity_id` forms are for the caller to map. */
export const parsePublish = (value: unknown): PublishRequest | undefined => {
  if (!isObject(value)) return undefined;
  const { channel, event, payload, mutation, idempotencyKey } = value;
  if (typeof channel !== "string" || !isText(event, 255)) return undefined;
  if (payload !== undefined && !isObject(payload)) return undefined;
  if (!optionalText(mutation) || !optionalText(idempotencyKey)) return undefined;
  return {
    channel,
    event,
    payload: payload ?? {},
    ...(mutation === undefined ? {} : { mutation: mutation as string }),
    ...(idempotencyKey === undefined ? {} : { idempotencyKey: idempotencyKey as string }),
  };
};

/**
 * A server's frame as a client reads it: undefined when it is not one. Lenient, because a server may be newer: an
 * event needs a channel and a name, its payload becomes an object.
 */
export const parseServerFrame = (text: string): ServerFrame | undefined => {
  const value = parseJson(text);
  if (!isObject(value)) return undefined;
  for (const key of ["welcome", "reset", "presence", "bye", "error"] as const) {
    if (isObject(value[key])) return value as unknown as ServerFrame;
  }
  for (const key of ["ok", "ping", "pong"] as const) {
    if (typeof value[key] === "number") return value as unknown as ServerFrame;
  }
  return parseEvent(value);
};

/** An event from any source (socket, tab, stream), with its payload made an object. */
export const parseEvent = (value: unknown): WireEvent | undefined => {
  if (!isObject(value) || typeof value["channel"] !== "string" || typeof value["event"] !== "string") {
    return undefined;
  }
  const { channel, event, id, ts, origin } = value;
  const payload: Payload = isObject(value["payload"]) ? value["payload"] : {};
  const position = isWirePosition(value) ? { epoch: value.epoch, offset: value.offset } : {};
  return {
    channel,
    event,
    payload,
    ...(typeof id === "string" ? { id } : {}),
    ...position,
    ...(typeof ts === "number" ? { ts } : {}),
    ...(isObject(origin) ? { origin: parseOrigin(origin) } : {}),
  };
};

export const parseOrigin = (value: Readonly<Record<string, unknown>>): EventOrigin => ({
  ...(typeof value["client"] === "string" ? { client: value["client"] } : {}),
  ...(typeof value["mutation"] === "string" ? { mutation: value["mutation"] } : {}),
});
