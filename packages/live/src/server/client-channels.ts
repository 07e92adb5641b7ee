import { fromWirePosition, type Position, toWirePosition } from "@holdfast/coordination";
import { toWireError } from "@holdfast/kernel";
import { TooManyChannelsError } from "../errors.ts";
import { channelProblem } from "../model/limits.ts";
import type { Presence, SubscribeAnswer, SubscribeRequest } from "../model/messages.ts";
import type { Channel } from "./channel.ts";
import { isSamePosition, resetReason, startOf } from "./channel-log.ts";
import type { ServerCore } from "./server-core.ts";
import type { Subscription, Writer } from "./subscription.ts";

/** What became of one channel of a subscribe; `start` lets the events come, once the answer is sent. */
export interface Subscribed {
  readonly answer: SubscribeAnswer;
  readonly start?: () => void;
}

/** The channels of one connection. What is wrong with one of them concerns that one only. */
export class ClientChannels {
  readonly #core: ServerCore;
  readonly #writer: Writer;
  readonly #permit: (channel: string, token: string | undefined) => Promise<void>;
  readonly #joinPresence: (channel: string, data: Presence["data"]) => Promise<readonly Presence[]>;
  readonly #leavePresence: (channel: string) => void;
  readonly #signal: AbortSignal;
  readonly #entries = new Map<
    string,
    { readonly subscription: Subscription; readonly token: string | undefined }
  >();

  constructor(parts: {
    readonly core: ServerCore;
    readonly writer: Writer;
    readonly permit: (channel: string, token: string | undefined) => Promise<void>;
    readonly joinPresence: (channel: string, data: Presence["data"]) => Promise<readonly Presence[]>;
    readonly leavePresence: (channel: string) => void;
    /** Aborts when the connection is gone. */
    readonly signal: AbortSignal;
  }) {
    this.#core = parts.core;
    this.#writer = parts.writer;
    this.#permit = parts.permit;
    this.#joinPresence = parts.joinPresence;
    this.#leavePresence = parts.leavePresence;
    this.#signal = parts.signal;
  }

  /** Never throws. Subscribing again to a channel starts over from the position given. */
  async subscribe(request: SubscribeRequest): Promise<Subscribed> {
    const { channel: name, token } = request;
    let held: Channel | undefined;
    try {
      const problem = channelProblem(name);
      if (problem !== undefined) throw problem;
      const { channelMaxCount } = this.#core.settings.limits;
      if (!this.#entries.has(name) && this.#entries.size >= channelMaxCount) {
        throw new TooManyChannelsError(`a connection may follow ${channelMaxCount} channels`);
      }
      await this.#permit(name, token);
      let subscription = this.#entries.get(name)?.subscription;
      if (subscription === undefined) {
        held = this.#core.hub.hold(name);
        await held.opened;
        this.#signal.throwIfAborted();
        subscription = this.#core.subscribe(held, this.#writer);
      }
      this.#entries.set(name, { subscription, token });
      // From here on the entry lets go of it, once, also when the connection ends while we wait.
      held = undefined;
      const { answer, from } = await this.#place(request, subscription.channel);
      this.#signal.throwIfAborted();
      const started = subscription;
      if (request.presence === undefined) this.#leavePresence(name);
      const present =
        request.presence === undefined ? undefined : await this.#joinPresence(name, request.presence);
      // Whoever left while it was asked for is not there.
      if (this.#signal.aborted) this.#leavePresence(name);
      return {
        answer: present === undefined || answer.state === "refused" ? answer : { ...answer, present },
        start: () => {
          if (this.#entries.get(name)?.subscription === started) started.startFrom(from);
        },
      };
    } catch (error) {
      if (this.#entries.has(name)) this.unsubscribe(name);
      else if (held !== undefined) this.#core.hub.release(held);
      return { answer: { channel: name.slice(0, 255), state: "refused", error: toWireError(error) } };
    }
  }

  unsubscribe(name: string): void {
    const entry = this.#entries.get(name);
    if (entry === undefined) return;
    this.#entries.delete(name);
    entry.subscription.stop();
    this.#leavePresence(name);
    this.#core.hub.release(entry.subscription.channel);
  }

  /** Asks again for every channel, and leaves those that are no longer permitted. */
  async recheck(onLost: (channel: string, error: unknown) => void): Promise<void> {
    for (const [name, { token }] of [...this.#entries]) {
      try {
        await this.#permit(name, token);
      } catch (error) {
        this.unsubscribe(name);
        onLost(name, error);
      }
    }
  }

  clear(): void {
    for (const name of [...this.#entries.keys()]) this.unsubscribe(name);
  }

  /** Where events begin for a request, and what to say about it. */
  async #place(
    request: SubscribeRequest,
    channel: Channel,
  ): Promise<{ readonly answer: SubscribeAnswer; readonly from: Position }> {
    const { counters, settings } = this.#core;
    const { name } = channel;
    if (request.position === undefined) {
      const from = startOf(channel.bounds);
      return { answer: { channel: name, state: "new", position: toWirePosition(from) }, from };
    }
    const asked = fromWirePosition(request.position);
    const bounds = await settings.log.bounds(name, { signal: this.#signal });
    if (bounds.isState === true && !isSamePosition(asked, bounds.head)) {
      const from = startOf(bounds);
      return { answer: { channel: name, state: "new", position: toWirePosition(from) }, from };
    }
    const reason = resetReason(asked, bounds);
    if (reason === undefined) {
      counters.recoveries += 1;
      const from = { epoch: bounds.head.epoch, offset: asked.offset };
      return {
        answer: {
          channel: name,
          state: "recovered",
          position: toWirePosition(from),
          upTo: bounds.head.offset.toString(),
        },
        from,
      };
    }
    counters.resets += 1;
    const from = bounds.head;
    return { answer: { channel: name, state: "reset", reason, position: toWirePosition(from) }, from };
  }
}
