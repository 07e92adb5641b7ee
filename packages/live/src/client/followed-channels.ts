import type { WirePosition } from "@holdfast/coordination";
import { type Clock, type HoldfastError, RemoteError, type WireError } from "@holdfast/kernel";
import { HandlerFailedError, NotConnectedError } from "../errors.ts";
import type { ClientFrame, ServerFrame, SubscribeAnswer, WireEvent } from "../model/messages.ts";
import { parseEvent } from "../model/parse.ts";
import { ChannelEntry, type PresenceHolder } from "./channel-entry.ts";
import type { BroadcastEvent, EventHandler, Gap, PresenceChange } from "./events.ts";

/** How long until a channel is asked for again that the server could not serve just now, milliseconds. */
const RETRY_CHANNEL_MS = 5_000;

export interface FollowedChannelsOptions {
  readonly clock: Pick<Clock, "schedule">;
  /** Whether the server can be asked now. */
  readonly isUp: () => boolean;
  /** Sends a command; rejects when its answer is lost. */
  readonly command: (name: string, frame: ClientFrame) => Promise<unknown>;
  readonly onGap: (gap: Gap) => void;
  /** The server took the channel up with nothing to resume from. */
  readonly onBegin: (channel: string) => void;
  readonly onError: (error: HoldfastError, channel?: string) => void;
}

/**
 * The channels that somebody here listens to. Asks the server for them, from their positions again after each loss of
 * the connection, and hands each event to its handlers once and in order.
 */
export class FollowedChannels {
  readonly #options: FollowedChannelsOptions;
  readonly #entries = new Map<string, ChannelEntry>();
  #isFlushScheduled = false;

  constructor(options: FollowedChannelsOptions) {
    this.#options = options;
  }

  /** Returns the function that removes the handler again; harmless when called twice. */
  add(channel: string, handler: EventHandler, after: WirePosition | undefined): () => void {
    const registration = { handler };
    const entry = this.#entryOf(channel);
    if (after !== undefined) entry.line.startAfter(after);
    entry.handlers.add(registration);
    this.#scheduleFlush();
    return () => {
      if (entry.handlers.delete(registration)) this.#scheduleFlush();
    };
  }

  /** Is present in the channel until the function that it returns is called. */
  hold(channel: string, holder: PresenceHolder): () => void {
    const entry = this.#entryOf(channel);
    entry.holders.add(holder);
    entry.mustAsk = true;
    this.#scheduleFlush();
    return () => {
      if (!entry.holders.delete(holder)) return;
      entry.mustAsk = true;
      this.#scheduleFlush();
    };
  }

  has(channel: string): boolean {
    return this.#entries.has(channel);
  }

  /** Settles with the server's word about a channel that is there. @throws signal.reason when aborted. */
  answered(channel: string, signal: AbortSignal | undefined): Promise<void> {
    return this.#entries.get(channel)?.answered(signal) ?? Promise.resolve();
  }

  #entryOf(channel: string): ChannelEntry {
    const entry = this.#entries.get(channel) ?? new ChannelEntry(channel);
    this.#entries.set(channel, entry);
    return entry;
  }

  /** What changed in one turn goes out in one frame, and what was undone in it does not go out at all. */
  #scheduleFlush(): void {
    if (this.#isFlushScheduled) return;
    this.#isFlushScheduled = true;
    queueMicrotask(() => {
      this.#isFlushScheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    const isUp = this.#options.isUp();
    const wanted: ChannelEntry[] = [];
    const unwanted: string[] = [];
    for (const entry of this.#entries.values()) {
      if (!entry.isWanted) {
        if (isUp && entry.phase !== "idle") unwanted.push(entry.name);
        this.#entries.delete(entry.name);
        entry.settle(new NotConnectedError(`channel "${entry.name}" was left`));
      } else if (isUp && (entry.phase === "idle" || entry.mustAsk)) {
        wanted.push(entry);
      }
    }
    if (wanted.length === 0 && unwanted.length === 0) return;
    this.#ask(wanted, unwanted);
  }

  #ask(wanted: readonly ChannelEntry[], unwanted: readonly string[]): void {
    const frame: ClientFrame = {
      ...(wanted.length === 0 ? {} : { subscribe: wanted.map(({ request }) => request) }),
      ...(unwanted.length === 0 ? {} : { unsubscribe: unwanted }),
    };
    for (const entry of wanted) {
      entry.phase = "requested";
      entry.mustAsk = false;
    }
    this.#options.command("subscribe", frame).then(
      // Handled in `onAnswers`, in line with the events around it.
      () => undefined,
      (error: unknown) => {
        // A lost connection asks for all channels again by itself.
        if (this.#options.isUp()) this.#options.onError(error as HoldfastError);
      },
    );
  }

  onUp(): void {
    for (const entry of this.#entries.values()) entry.phase = "idle";
    this.#flush();
  }

  onDown(): void {
    for (const entry of this.#entries.values()) {
      entry.phase = "idle";
      entry.line.onDisconnected();
    }
  }

  /** Nobody will say anything more. */
  settleAll(error: Error): void {
    for (const entry of this.#entries.values()) entry.settle(error);
  }

  onAnswers(answers: readonly SubscribeAnswer[]): void {
    for (const answer of answers) this.#onAnswer(answer);
  }

  onReset({ channel, reason, position }: Extract<ServerFrame, { reset: unknown }>["reset"]): void {
    const entry = this.#entries.get(channel);
    if (entry !== undefined) this.#options.onGap(entry.line.onReset(reason, position));
  }

  onPresence({ channel, join, leave }: Extract<ServerFrame, { presence: unknown }>["presence"]): void {
    if (join !== undefined) this.#tellPresence(channel, { kind: "join", presence: join });
    if (leave !== undefined) this.#tellPresence(channel, { kind: "leave", presence: leave });
  }

  onRefused(channel: string, error: WireError): void {
    const entry = this.#entries.get(channel);
    if (entry !== undefined) this.#refuse(entry, error);
  }

  onEvent(event: WireEvent): void {
    const entry = this.#entries.get(event.channel);
    if (entry === undefined) return;
    const verdict = entry.line.onEvent(event);
    if (verdict.kind === "recover") {
      this.#ask([entry], []);
      return;
    }
    if (verdict.kind === "drop") return;
    if (verdict.kind === "gap") this.#options.onGap(verdict.gap);
    this.#deliver(entry, { ...event, via: entry.line.isRecovering ? "recovery" : "socket" });
  }

  onTabEvent(value: unknown): void {
    const event = parseEvent(value);
    const entry = event === undefined ? undefined : this.#entries.get(event.channel);
    if (event === undefined || entry === undefined) return;
    if (entry.line.onTabEvent(event.id).kind === "deliver") this.#deliver(entry, { ...event, via: "tab" });
  }

  #onAnswer(answer: SubscribeAnswer): void {
    const entry = this.#entries.get(answer.channel);
    if (entry === undefined) return;
    if (answer.state === "refused") {
      this.#refuse(entry, answer.error);
      return;
    }
    const gap = entry.line.onAnswer(answer);
    if (entry.phase === "requested") entry.phase = "subscribed";
    if (gap !== undefined) this.#options.onGap(gap);
    if (answer.present !== undefined) {
      this.#tellPresence(entry.name, { kind: "snapshot", present: answer.present });
    }
    if (answer.state === "new") this.#options.onBegin(entry.name);
    entry.settle();
  }

  #refuse(entry: ChannelEntry, wire: WireError): void {
    entry.phase = "refused";
    const error = new RemoteError(wire);
    entry.refusal = wire.retryable ? undefined : error;
    this.#options.onError(error, entry.name);
    if (!wire.retryable) {
      entry.settle(error);
      return;
    }
    this.#options.clock.schedule(RETRY_CHANNEL_MS, () => {
      if (entry.phase !== "refused") return;
      entry.phase = "idle";
      this.#scheduleFlush();
    });
  }

  #deliver(entry: ChannelEntry, event: BroadcastEvent): void {
    entry.deliver(event, (cause) => this.#reportHandler("a handler", entry.name, cause));
  }

  #tellPresence(channel: string, change: PresenceChange): void {
    this.#entries
      .get(channel)
      ?.tell(change, (cause) => this.#reportHandler("a presence listener", channel, cause));
  }

  #reportHandler(what: string, channel: string, cause: unknown): void {
    this.#options.onError(
      new HandlerFailedError(`${what} of channel "${channel}" threw`, { cause }),
      channel,
    );
  }
}
