import type { Presence } from "../model/messages.ts";

/** Where one present connection is told about the others. */
export interface PresenceListener {
  sendPresence(channel: string, change: { readonly join?: Presence; readonly leave?: Presence }): void;
}

/**
 * Who is present in the channels of this server: one entry for each connection that asked for it, and only those
 * are told of the others. Not part of a channel's events: no offset, no history.
 */
export class PresenceBook {
  readonly #channels = new Map<
    string,
    Map<string, { presence: Presence; readonly listener: PresenceListener }>
  >();

  /** Announces the newcomer to the others and returns who is there, the newcomer included. A second join replaces its data. */
  join(channel: string, presence: Presence, listener: PresenceListener): readonly Presence[] {
    const entries = this.#channels.get(channel) ?? new Map();
    this.#channels.set(channel, entries);
    for (const [key, entry] of entries) {
      if (key !== presence.key) entry.listener.sendPresence(channel, { join: presence });
    }
    entries.set(presence.key, { presence, listener });
    return this.list(channel);
  }

  leave(channel: string, key: string): void {
    const entries = this.#channels.get(channel);
    const left = entries?.get(key);
    if (entries === undefined || left === undefined) return;
    entries.delete(key);
    if (entries.size === 0) this.#channels.delete(channel);
    for (const { listener } of entries.values()) listener.sendPresence(channel, { leave: left.presence });
  }

  list(channel: string): readonly Presence[] {
    return [...(this.#channels.get(channel)?.values() ?? [])].map(({ presence }) => presence);
  }
}
