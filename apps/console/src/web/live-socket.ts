import type { ChannelPosition, PageMessage, ServerMessage } from "../messages.ts";

export type ConnectionState = "connecting" | "open" | "lost" | "unauthorized";

/** What a subscriber of a channel hears. */
export interface ChannelListener {
  onMessage(message: Exclude<ServerMessage, { type: "ready" }>): void;
}

interface Subscription {
  position: ChannelPosition | undefined;
  readonly listeners: Set<ChannelListener>;
}

const RETRY_FIRST_MS = 250;
const RETRY_MAX_MS = 8_000;
const TOKEN_KEY = "holdfast-token";

/**
 * The page's one connection. It comes back by itself (full jitter, doubling up to 8 s) and then asks for each
 * channel from the last position that it has, so that nothing is missed or shown twice.
 */
export class LiveSocket {
  readonly #url: string;
  readonly #subscriptions = new Map<string, Subscription>();
  readonly #stateListeners = new Set<() => void>();
  #socket: WebSocket | undefined;
  #retryMs = RETRY_FIRST_MS;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  #state: ConnectionState = "connecting";

  constructor(url: string) {
    this.#url = url;
    this.#open();
    // A laptop that wakes up should not wait for the backoff.
    addEventListener("online", () => this.retryNow());
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") this.retryNow();
    });
  }

  get state(): ConnectionState {
    return this.#state;
  }

  onState = (listener: () => void): (() => void) => {
    this.#stateListeners.add(listener);
    return () => this.#stateListeners.delete(listener);
  };

  /** Follows a channel. Listeners of one channel share its subscription; a late one starts it from the beginning again. */
  subscribe(channel: string, listener: ChannelListener): () => void {
    const existing = this.#subscriptions.get(channel);
    const subscription = existing ?? { position: undefined, listeners: new Set() };
    subscription.listeners.add(listener);
    if (existing === undefined) {
      this.#subscriptions.set(channel, subscription);
      this.#send({ type: "subscribe", channel });
    }
    return () => {
      subscription.listeners.delete(listener);
      if (subscription.listeners.size > 0) return;
      this.#subscriptions.delete(channel);
      this.#send({ type: "unsubscribe", channel });
    };
  }

  /** Sets the token for this browser tab and connects with it. */
  signIn(token: string): void {
    sessionStorage.setItem(TOKEN_KEY, token);
    this.#socket?.close();
    this.retryNow();
  }

  retryNow(): void {
    if (this.#state === "open" || this.#state === "connecting") return;
    clearTimeout(this.#retryTimer);
    this.#retryMs = RETRY_FIRST_MS;
    this.#open();
  }

  #open(): void {
    this.#setState(
      this.#state === "unauthorized" ? "unauthorized" : this.#state === "open" ? "lost" : this.#state,
    );
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    socket.onopen = () => {
      const token = sessionStorage.getItem(TOKEN_KEY);
      if (token !== null) this.#send({ type: "auth", token });
    };
    socket.onmessage = (message) => this.#receive(JSON.parse(String(message.data)) as ServerMessage);
    socket.onclose = () => {
      if (this.#socket !== socket) return;
      this.#socket = undefined;
      if (this.#state !== "unauthorized") this.#setState("lost");
      this.#retryTimer = setTimeout(() => this.#open(), Math.random() * this.#retryMs + 50);
      this.#retryMs = Math.min(RETRY_MAX_MS, this.#retryMs * 2);
    };
  }

  #receive(message: ServerMessage): void {
    if (message.type === "ready") {
      this.#retryMs = RETRY_FIRST_MS;
      this.#setState("open");
      for (const [channel, { position }] of this.#subscriptions) {
        this.#send({ type: "subscribe", channel, ...(position === undefined ? {} : { after: position }) });
      }
      return;
    }
    if (message.type === "error" && message.error.code === "CONSOLE_UNAUTHORIZED")
      this.#setState("unauthorized");
    if (message.channel === undefined) return;
    const subscription = this.#subscriptions.get(message.channel);
    if (subscription === undefined) return;
    if (message.type === "snapshot") subscription.position = message.position;
    if (message.type === "events")
      subscription.position = message.events.at(-1)?.position ?? subscription.position;
    for (const listener of subscription.listeners) listener.onMessage(message);
  }

  #send(message: PageMessage): void {
    if (this.#socket?.readyState === WebSocket.OPEN && (this.#state === "open" || message.type === "auth")) {
      this.#socket.send(JSON.stringify(message));
    }
  }

  #setState(state: ConnectionState): void {
    if (state === this.#state) return;
    this.#state = state;
    for (const listener of this.#stateListeners) listener();
  }
}

export const storedToken = (): string | undefined => sessionStorage.getItem(TOKEN_KEY) ?? undefined;
