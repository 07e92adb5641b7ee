import { TabChannelError } from "../errors.ts";
import type { WireEvent } from "../model/messages.ts";
import { isObject } from "../model/parse.ts";
import type { Platform, TabChannelLike } from "./platform.ts";

/**
 * Talks to the other tabs of this browser that have the same application and user; never to the tab itself. Where
 * there is no BroadcastChannel it does nothing.
 */
export class TabChannel {
  readonly #name: string | undefined;
  readonly #platform: Platform;
  readonly #onEvent: (event: unknown) => void;
  readonly #onMessage: (message: unknown) => void;
  readonly #onError: (error: TabChannelError) => void;
  #channel: TabChannelLike | undefined;

  constructor(parts: {
    readonly name: string | undefined;
    readonly platform: Platform;
    readonly onEvent: (event: unknown) => void;
    readonly onMessage: (message: unknown) => void;
    readonly onError: (error: TabChannelError) => void;
  }) {
    this.#name = parts.name;
    this.#platform = parts.platform;
    this.#onEvent = parts.onEvent;
    this.#onMessage = parts.onMessage;
    this.#onError = parts.onError;
  }

  /** Idempotent. */
  open(): void {
    if (this.#channel !== undefined || this.#name === undefined) return;
    const channel = this.#platform.openTabChannel(this.#name);
    if (channel === undefined) return;
    channel.onmessage = (event: { readonly data: unknown }) => {
      if (this.#channel !== channel || !isObject(event.data)) return;
      if (event.data["kind"] === "event") this.#onEvent(event.data["event"]);
      else if (event.data["kind"] === "message") this.#onMessage(event.data["message"]);
    };
    this.#channel = channel;
  }

  close(): void {
    const channel = this.#channel;
    this.#channel = undefined;
    channel?.close();
  }

  sendEvent(event: WireEvent): void {
    this.#post({ kind: "event", event });
  }

  sendMessage(message: unknown): void {
    this.#post({ kind: "message", message });
  }

  #post(message: unknown): void {
    try {
      this.#channel?.postMessage(message);
    } catch (cause) {
      this.#onError(
        new TabChannelError("other tabs could not be told: send plain data that can be cloned", { cause }),
      );
    }
  }
}
