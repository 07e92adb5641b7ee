import { type Clock, type Random, systemClock, systemRandom } from "@holdfast/kernel";

/** The part of a WebSocket that the client uses; browsers, workers, Node 22 and `ws` fit as they are. */
export interface WebSocketLike {
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  send(text: string): void;
  close(code?: number, reason?: string): void;
}

/** The part of a BroadcastChannel that the client uses. */
export interface TabChannelLike {
  onmessage: ((event: never) => void) | null;
  postMessage(message: unknown): void;
  close(): void;
}

/** Everything the client takes from where it runs. Tests replace it. */
export interface Platform {
  readonly clock: Clock;
  readonly random: Random;
  /** @throws when there is no WebSocket here or the address is not valid. */
  readonly openSocket: (url: string) => WebSocketLike;
  readonly fetch: (url: string, init: RequestInit) => Promise<Response>;
  /** Undefined where tabs cannot talk: then they do not, silently. */
  readonly openTabChannel: (name: string) => TabChannelLike | undefined;
  /** Calls back when the network came back or the page became visible. Returns the function that stops it. */
  readonly onWake: (callback: () => void) => () => void;
}

const openSocket = (url: string): WebSocketLike => {
  if (typeof WebSocket === "undefined") {
    throw new TypeError(
      "there is no WebSocket here; give the client one: { webSocket: WebSocket } from `ws`",
    );
  }
  return new WebSocket(url);
};

const openTabChannel = (name: string): TabChannelLike | undefined => {
  if (typeof BroadcastChannel === "undefined") return undefined;
  const channel = new BroadcastChannel(name);
  // In Node an open channel would keep the process alive.
  (channel as { unref?: () => void }).unref?.();
  return channel as TabChannelLike;
};

const onWake = (callback: () => void): (() => void) => {
  const page = typeof document === "undefined" ? undefined : document;
  const target = typeof addEventListener === "function" ? globalThis : undefined;
  const onVisible = (): void => {
    if (page?.visibilityState === "visible") callback();
  };
  target?.addEventListener("online", callback);
  page?.addEventListener("visibilitychange", onVisible);
  return () => {
    target?.removeEventListener("online", callback);
    page?.removeEventListener("visibilitychange", onVisible);
  };
};

/** What browsers, workers and Node offer by themselves. */
export const defaultPlatform: Platform = {
  clock: systemClock,
  random: systemRandom,
  openSocket,
  fetch: (url, init) => fetch(url, init),
  openTabChannel,
  onWake,
};
