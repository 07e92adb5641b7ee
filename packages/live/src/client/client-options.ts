import { InvalidInputError } from "@holdfast/kernel";
import { defaultPlatform, type Platform, type WebSocketLike } from "./platform.ts";

export interface BroadcastClientOptions {
  /** Tries after a loss before the client gives up. Default: without end. */
  readonly maxReconnectAttempts?: number;
  /** Wait before the first try, milliseconds; doubles with each. Default 1000. */
  readonly reconnectDelay?: number;
  /** The longest wait, milliseconds. Default 20_000. */
  readonly reconnectDelayMax?: number;
  /** How far each wait may differ by chance, 0 to 1. Default 0.5: from half to one and a half. */
  readonly reconnectJitter?: number;
  /** How long opening and the server's welcome may take, milliseconds. Default 10_000. */
  readonly connectTimeout?: number;
  /** Asked before every try, also after sleep, and before the token ends; undefined is no token. Default: none. */
  readonly getToken?: () => Promise<string | undefined> | string | undefined;
  /**
   * Where server-sent events are, for networks that let no WebSocket through: used after two tries without a
   * welcome. Receive only. Default: no fallback.
   */
  readonly eventStreamUrl?: string;
  /** How tabs of one browser find each other; `false` keeps to oneself. Default: application "default", user "anonymous". */
  readonly tabs?: { readonly application?: string; readonly user?: string } | false;
  /** A WebSocket constructor, for Node below 22: `ws` has one. */
  readonly webSocket?: new (
    url: string,
  ) => WebSocketLike;
  readonly platform?: Partial<Platform>;
}

export interface ClientSettings {
  readonly maxReconnectAttempts: number;
  readonly reconnectDelay: number;
  readonly reconnectDelayMax: number;
  readonly reconnectJitter: number;
  readonly connectTimeout: number;
  readonly getToken: (() => Promise<string | undefined> | string | undefined) | undefined;
  readonly eventStreamUrl: string | undefined;
  /** Undefined: no tab channel. */
  readonly tabChannelName: string | undefined;
  readonly platform: Platform;
}

const atLeast = (field: string, value: number, least: number): number => {
  if (!(value >= least)) throw new InvalidInputError(field, value, `at least ${least}`);
  return value;
};

/** @throws InvalidInputError */
export const toClientSettings = (options: BroadcastClientOptions): ClientSettings => {
  const { webSocket, tabs = {} } = options;
  const jitter = options.reconnectJitter ?? 0.5;
  if (!(jitter >= 0 && jitter <= 1)) throw new InvalidInputError("reconnectJitter", jitter, "from 0 to 1");
  return {
    maxReconnectAttempts: atLeast(
      "maxReconnectAttempts",
      options.maxReconnectAttempts ?? Number.POSITIVE_INFINITY,
      0,
    ),
    reconnectDelay: atLeast("reconnectDelay", options.reconnectDelay ?? 1_000, 0),
    reconnectDelayMax: atLeast("reconnectDelayMax", options.reconnectDelayMax ?? 20_000, 0),
    reconnectJitter: jitter,
    connectTimeout: atLeast("connectTimeout", options.connectTimeout ?? 10_000, 1),
    getToken: options.getToken,
    eventStreamUrl: options.eventStreamUrl,
    tabChannelName:
      tabs === false
        ? undefined
        : // Parts are escaped, so that no choice of names makes two groups of tabs meet.
          ["holdfast-live", "2", tabs.application ?? "default", tabs.user ?? "anonymous"]
            .map(encodeURIComponent)
            .join("/"),
    platform: {
      ...defaultPlatform,
      ...(webSocket === undefined ? {} : { openSocket: (url: string) => new webSocket(url) }),
      ...options.platform,
    },
  };
};

/** The wait before try number `attempt`, counted from 1: doubling, spread by chance, never above the cap. */
export const reconnectDelayMs = (
  attempt: number,
  settings: Pick<ClientSettings, "reconnectDelay" | "reconnectDelayMax" | "reconnectJitter"> & {
    readonly chance: number;
  },
): number => {
  const { reconnectDelay, reconnectDelayMax, reconnectJitter, chance } = settings;
  const base = Math.min(reconnectDelayMax, reconnectDelay * 2 ** Math.min(attempt - 1, 30));
  return Math.min(reconnectDelayMax, Math.round(base * (1 + reconnectJitter * (2 * chance - 1))));
};
