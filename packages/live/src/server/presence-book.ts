import { newId, type TaskGroup } from "@holdfast/kernel";
import type { Presence } from "../model/messages.ts";
import { PresenceRoom } from "./presence-room.ts";
import type { LiveSettings } from "./server-options.ts";

/** Where one present connection is told about the others. */
export interface PresenceListener {
  sendPresence(channel: string, change: { readonly join?: Presence; readonly leave?: Presence }): void;
}

interface PresentChannel {
  readonly entries: Map<string, { presence: Presence; readonly listener: PresenceListener }>;
  /** Who is there on other servers; undefined when there are none. */
  readonly room: PresenceRoom | undefined;
}

/**
 * Who is present in the channels: one entry for each connection that asked for it, here and on the servers that share
 * the log, and only those are told of the others. Not part of a channel's events: no offset, no history.
 */
export class PresenceBook {
  readonly #settings: LiveSettings;
  readonly #tasks: TaskGroup;
  readonly #server: string;
  readonly #channels = new Map<string, PresentChannel>();

  constructor(settings: LiveSettings, tasks: TaskGroup) {
    this.#settings = settings;
    this.#tasks = tasks;
    this.#server = newId("s", settings.random);
  }

  /** Announces the newcomer to the others and resolves with who is there, the newcomer included. A second join replaces its data. */
  async join(channel: string, presence: Presence, listener: PresenceListener): Promise<readonly Presence[]> {
    const present = this.#channels.get(channel) ?? this.#open(channel);
    const { entries, room } = present;
    this.#tellOthers(present, channel, presence.key, { join: presence });
    entries.set(presence.key, { presence, listener });
    room?.joined(presence);
    await room?.opened;
    return [...entries.values()].map((entry) => entry.presence).concat(room?.members ?? []);
  }

  leave(channel: string, key: string): void {
    const present = this.#channels.get(channel);
    const left = present?.entries.get(key);
    if (present === undefined || left === undefined) return;
    present.entries.delete(key);
    this.#tellOthers(present, channel, key, { leave: left.presence });
    if (present.entries.size > 0) {
      present.room?.left(key);
      return;
    }
    this.#channels.delete(channel);
    present.room?.close();
  }

  #open(channel: string): PresentChannel {
    const { log, clock, random, logger } = this.#settings;
    const entries: PresentChannel["entries"] = new Map();
    const room =
      log.isShared === true
        ? new PresenceRoom({
            channel,
            server: this.#server,
            log,
            clock,
            random,
            logger,
            tasks: this.#tasks,
            localMembers: () => [...entries.values()].map(({ presence }) => presence),
            onChange: (change) => {
              for (const { listener } of entries.values()) listener.sendPresence(channel, change);
            },
          })
        : undefined;
    const present = { entries, room };
    this.#channels.set(channel, present);
    return present;
  }

  #tellOthers(
    { entries }: PresentChannel,
    channel: string,
    key: string,
    change: { readonly join?: Presence; readonly leave?: Presence },
  ): void {
    for (const [other, { listener }] of entries) if (other !== key) listener.sendPresence(channel, change);
  }
}
