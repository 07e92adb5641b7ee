import { newId, type Timer } from "@holdfast/kernel";
import { CLOSE_CODES } from "../../model/close-codes.ts";
import { isObject } from "../../model/parse.ts";
import { defaultPlatform, type Platform, type TabChannelLike, type WebSocketLike } from "../platform.ts";
import { OWN_TAB, SocketHub } from "./socket-hub.ts";

/** The part of `navigator.locks` that is used. */
export interface LocksLike {
  request(
    name: string,
    options: { readonly steal?: boolean; readonly signal?: AbortSignal },
    callback: () => Promise<void>,
  ): Promise<unknown>;
}

export interface ShareSocketOptions {
  /** Tabs share only with those of the same application and user. Defaults as for the tabs of a client. */
  readonly application?: string;
  readonly user?: string;
  /** Default: the browser's Web Locks; where there are none, each tab has its own socket. */
  readonly locks?: LocksLike;
  /** How long the leading tab may take to answer before another takes its place, milliseconds. Default 2_000. */
  readonly answerWithinMs?: number;
  readonly platform?: Partial<Pick<Platform, "clock" | "random" | "openSocket" | "openTabChannel">>;
}

/** Between the tabs. `to` is a tab, `leader` or `all`. */
type TabMessage =
  | { readonly kind: "open" | "close"; readonly tab: string }
  | { readonly kind: "say"; readonly tab: string; readonly text: string }
  | { readonly kind: "leads" }
  | { readonly kind: "opened" | "heard"; readonly to: string }
  | { readonly kind: "tell"; readonly to: string; readonly text: string }
  | { readonly kind: "closed"; readonly to: string; readonly code: number; readonly reason: string };

/**
 * One socket for all tabs of a browser, instead of one each: give what this returns to a client as
 * `platform: { openSocket }`. The tab that holds a Web Lock keeps the socket and passes frames on; when it closes,
 * the next one takes over, and the others resume from their positions. One that does not answer, because the browser
 * froze it, loses the lock to a tab that asked.
 *
 * The connection is that of the leading tab: its token, and its name as the origin of what is published.
 */
export const shareSocket = (options: ShareSocketOptions = {}): ((url: string) => WebSocketLike) => {
  const platform = { ...defaultPlatform, ...options.platform };
  const locks = options.locks ?? (globalThis.navigator as { locks?: LocksLike } | undefined)?.locks;
  const { application = "default", user = "anonymous" } = options;
  return (url) => {
    const name = ["holdfast-live-socket", "2", application, user, url].map(encodeURIComponent).join("/");
    const channel = locks === undefined ? undefined : platform.openTabChannel(name);
    if (channel === undefined || locks === undefined) return platform.openSocket(url);
    const openSocket = (): WebSocketLike => platform.openSocket(url);
    return new SharedSocket({ ...platform, ...options, name, locks, channel, openSocket });
  };
};

/** One tab's end of the shared socket. It may also be the one that leads. */
class SharedSocket implements WebSocketLike {
  onopen: WebSocketLike["onopen"] = null;
  onmessage: WebSocketLike["onmessage"] = null;
  onclose: WebSocketLike["onclose"] = null;
  onerror: WebSocketLike["onerror"] = null;
  readonly #tab: string;
  readonly #name: string;
  readonly #locks: LocksLike;
  readonly #channel: TabChannelLike;
  readonly #openSocket: () => WebSocketLike;
  readonly #platform: Pick<Platform, "clock" | "random">;
  readonly #answerWithinMs: number;
  /** Ends the wait for the lock. */
  readonly #waiting = new AbortController();
  #hub: SocketHub | undefined;
  #release: (() => void) | undefined;
  #timer: Timer | undefined;
  #state: "opening" | "open" | "closed" = "opening";
  /** What is said to all is for those that the server knows. */
  #isWelcome = false;

  constructor(
    parts: Pick<Platform, "clock" | "random"> & {
      readonly name: string;
      readonly locks: LocksLike;
      readonly channel: TabChannelLike;
      readonly openSocket: () => WebSocketLike;
      readonly answerWithinMs?: number;
    },
  ) {
    this.#tab = newId("tab", parts.random);
    this.#name = parts.name;
    this.#locks = parts.locks;
    this.#channel = parts.channel;
    this.#openSocket = parts.openSocket;
    this.#platform = parts;
    this.#answerWithinMs = parts.answerWithinMs ?? 2_000;
    this.#channel.onmessage = ({ data }: { readonly data: unknown }) => {
      if (isObject(data)) this.#onTabMessage(data as unknown as TabMessage);
    };
    this.#ask({ signal: this.#waiting.signal });
    this.#post({ kind: "open", tab: this.#tab });
    this.#awaitAnswer();
  }

  send(text: string): void {
    if (this.#hub === undefined) {
      this.#awaitAnswer();
      this.#post({ kind: "say", tab: this.#tab, text });
    }
    // Later, as over any other socket.
    else queueMicrotask(() => this.#hub?.receive(OWN_TAB, text));
  }

  close(): void {
    if (this.#state === "closed") return;
    this.#end();
    if (this.#hub === undefined) this.#post({ kind: "close", tab: this.#tab });
    else this.#stopLeading("the leading tab left");
    this.#channel.close();
  }

  /** Waits for the lock, then leads until this tab leaves or the lock is taken from it. */
  #ask(options: { readonly steal?: boolean; readonly signal?: AbortSignal }): void {
    let hasLed = false;
    this.#locks
      .request(this.#name, options, () => {
        if (this.#state === "closed" || this.#hub !== undefined) return Promise.resolve();
        hasLed = true;
        return new Promise<void>((release) => this.#lead(release));
      })
      .catch(() => {
        // Taken by another tab.
        if (hasLed) this.#lose("another tab leads");
        // Not because it is not wanted any more: locks are refused here, to a page without an origin for example.
        else if (this.#state === "opening" && this.#hub === undefined) this.#lead(() => undefined);
      });
  }

  #lead(release: () => void): void {
    if (this.#state === "open") {
      // The tab that led is gone, and with it what we were connected to.
      release();
      this.#fail(CLOSE_CODES.shutdown, "the leading tab is gone");
      return;
    }
    this.#timer?.cancel();
    this.#release = release;
    this.#hub = new SocketHub({
      openSocket: this.#openSocket,
      tellOthers: (text) => this.#post({ kind: "tell", to: "all", text }),
    });
    this.#post({ kind: "leads" });
    this.#joinOwn(this.#hub);
  }

  #joinOwn(hub: SocketHub): void {
    hub.join(OWN_TAB, {
      tell: (text) => this.#tell(text),
      close: (code, reason) => this.#fail(code, reason),
    });
    this.#opened();
  }

  #lose(reason: string): void {
    if (this.#hub === undefined) return;
    this.#stopLeading(reason);
    this.#fail(CLOSE_CODES.shutdown, reason);
  }

  #stopLeading(reason: string): void {
    const hub = this.#hub;
    this.#hub = undefined;
    hub?.leave(OWN_TAB);
    hub?.close(reason);
    this.#release?.();
  }

  #onTabMessage(message: TabMessage): void {
    const hub = this.#hub;
    if (hub !== undefined) {
      if (message.kind === "open") this.#admit(hub, message.tab);
      else if (message.kind === "say") {
        this.#post({ kind: "heard", to: message.tab });
        hub.receive(message.tab, message.text);
      } else if (message.kind === "close") hub.leave(message.tab);
      return;
    }
    if (message.kind === "leads") {
      if (this.#state === "open") this.#fail(CLOSE_CODES.shutdown, "another tab leads");
      else this.#post({ kind: "open", tab: this.#tab });
      return;
    }
    if (!("to" in message) || (message.to !== this.#tab && message.to !== "all")) return;
    this.#timer?.cancel();
    this.#timer = undefined;
    if (message.kind === "opened") this.#opened();
    else if (message.kind === "closed") this.#fail(message.code, message.reason);
    else if (message.kind === "tell" && (message.to !== "all" || this.#isWelcome)) this.#tell(message.text);
  }

  #admit(hub: SocketHub, tab: string): void {
    hub.join(tab, {
      tell: (text) => this.#post({ kind: "tell", to: tab, text }),
      close: (code, reason) => this.#post({ kind: "closed", to: tab, code, reason }),
    });
    this.#post({ kind: "opened", to: tab });
  }

  /** A leader that leaves us without an answer is frozen: take its place. */
  #awaitAnswer(): void {
    if (this.#hub !== undefined || this.#timer !== undefined) return;
    // Not all at once.
    const waitMs = this.#answerWithinMs * (1 + 0.5 * this.#platform.random.next());
    this.#timer = this.#platform.clock.schedule(waitMs, () => {
      this.#timer = undefined;
      if (this.#hub !== undefined || this.#state === "closed") return;
      if (this.#state === "open") this.#fail(CLOSE_CODES.shutdown, "the leading tab does not answer");
      else this.#ask({ steal: true });
    });
  }

  #opened(): void {
    if (this.#state !== "opening") return;
    this.#state = "open";
    queueMicrotask(() => this.onopen?.({} as never));
  }

  #tell(text: string): void {
    this.#isWelcome ||= text.startsWith('{"welcome"');
    if (this.#state === "open") this.onmessage?.({ data: text } as never);
  }

  #fail(code: number, reason: string): void {
    if (this.#state === "closed") return;
    this.#end();
    if (this.#hub !== undefined) this.#stopLeading(reason);
    this.#channel.close();
    queueMicrotask(() => this.onclose?.({ code, reason } as never));
  }

  #end(): void {
    this.#state = "closed";
    this.#timer?.cancel();
    this.#waiting.abort(new Error("the socket is closed"));
  }

  #post(message: TabMessage): void {
    this.#channel.postMessage(message);
  }
}
