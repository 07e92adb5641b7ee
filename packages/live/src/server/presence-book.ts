import { newId, OverloadedError, type TaskGroup } from "@holdfast/kernel";
import { InvalidMessageError } from "../errors.ts";
import type { Presence } from "../model/messages.ts";
import { PresenceRoom } from "./presence-room.ts";
import type { LiveSettings } from "./server-options.ts";

/** All who are present must fit into one answer, and that into the queue of one client. */
const PRESENT_MAX_COUNT = 512;
const DATA_MAX_BYTES = 1_024;

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
  /** Rooms that are closed and have still to tell so: who comes back at once must not be taken for gone after it. */
  readonly #farewells = new Map<string, Promise<void>>();

  constructor(settings: LiveSettings, tasks: TaskGroup) {
    this.#settings = settings;
    this.#tasks = tasks;
    this.#server = newId("s", settings.random);
  }

  /**
   * Announces the newcomer to the others and resolves with who is there, the newcomer included. A second join replaces its data.
   * @throws InvalidMessageError for data above 1 KiB; OverloadedError (retryable) when 512 are present.
   */
  async join(channel: string, presence: Presence, listener: PresenceListener): Promise<readonly Presence[]> {
    const bytes = Buffer.byteLength(JSON.stringify(presence.data));
    if (bytes > DATA_MAX_BYTES) {
      throw new InvalidMessageError(`presence may have ${DATA_MAX_BYTES} bytes of data, not ${bytes}`);
    }
    const known = this.#channels.get(channel);
    const count = (known?.entries.size ?? 0) + (known?.room?.members.length ?? 0);
    if (count >= PRESENT_MAX_COUNT && known?.entries.has(presence.key) !== true) {
      throw new OverloadedError(`the presence in channel "${channel}"`, PRESENT_MAX_COUNT);
    }
    const present = known ?? this.#open(channel);
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
    if (present.room === undefined) return;
    const farewell: Promise<void> = present.room.close().then(() => {
      if (this.#farewells.get(channel) === farewell) this.#farewells.delete(channel);
    });
    this.#farewells.set(channel, farewell);
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
            after: this.#farewells.get(channel) ?? Promise.resolve(),
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
