import { type Deferred, deferred, untilAborted } from "@holdfast/kernel";
import type { Payload, Presence, SubscribeRequest } from "../model/messages.ts";
import { ChannelLine } from "./channel-line.ts";
import type { BroadcastEvent, EventHandler, PresenceChange } from "./events.ts";

/** One `present` call. */
export interface PresenceHolder {
  readonly data: Payload;
  readonly onChange: (change: PresenceChange) => void;
}

/** What a client knows of one channel that somebody here listens to. */
export class ChannelEntry {
  readonly name: string;
  readonly line: ChannelLine;
  readonly handlers = new Set<{ readonly handler: EventHandler }>();
  readonly holders = new Set<PresenceHolder>();
  /** Wait for the server's word. */
  readonly waiters = new Set<Deferred<void>>();
  /** `idle`: the server does not know. `refused`: it said no; asked again on the next connection. */
  phase: "idle" | "requested" | "subscribed" | "refused" = "idle";
  /** Why it was refused; undefined where the server will be asked again by and by. Only while `refused`. */
  refusal: Error | undefined;
  /** Whether the server must be asked even though it was asked before. */
  mustAsk = false;

  constructor(name: string) {
    this.name = name;
    this.line = new ChannelLine(name);
  }

  get isWanted(): boolean {
    return this.handlers.size > 0 || this.holders.size > 0;
  }

  get request(): SubscribeRequest {
    const position = this.line.position;
    const presence = [...this.holders].at(-1)?.data;
    return {
      channel: this.name,
      ...(position === undefined ? {} : { position }),
      ...(presence === undefined ? {} : { presence }),
    };
  }

  /** Calls every handler, whatever the others do. */
  deliver(event: BroadcastEvent, onFailure: (cause: unknown) => void): void {
    for (const { handler } of [...this.handlers]) attempt(() => handler(event), onFailure);
  }

  /** Calls every holder, whatever the others do. */
  tell(change: PresenceChange, onFailure: (cause: unknown) => void): void {
    for (const { onChange } of [...this.holders]) attempt(() => onChange(change), onFailure);
  }

  /** Settles with the server's word, also one that was said before. @throws signal.reason when aborted. */
  answered(signal: AbortSignal | undefined): Promise<void> {
    if (this.phase === "subscribed") return Promise.resolve();
    if (this.phase === "refused" && this.refusal !== undefined) return Promise.reject(this.refusal);
    const waiter = deferred<void>();
    this.waiters.add(waiter);
    return untilAborted(waiter.promise, signal).finally(() => this.waiters.delete(waiter));
  }

  settle(error?: unknown): void {
    for (const waiter of this.waiters) {
      if (error === undefined) waiter.resolve();
      else waiter.reject(error);
    }
    this.waiters.clear();
  }
}

const attempt = (call: () => void, onFailure: (cause: unknown) => void): void => {
  try {
    call();
  } catch (cause) {
    onFailure(cause);
  }
};

/** Applies a change to a list of who is present. */
export const applyPresence = (present: readonly Presence[], change: PresenceChange): readonly Presence[] => {
  if (change.kind === "snapshot") return change.present;
  const others = present.filter(({ key }) => key !== change.presence.key);
  return change.kind === "join" ? [...others, change.presence] : others;
};
