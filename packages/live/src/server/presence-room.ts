import { type Clock, type Logger, newId, type Random, type TaskGroup, type Timer } from "@holdfast/kernel";
import type { Payload, Presence } from "../model/messages.ts";
import { isObject } from "../model/parse.ts";
import type { ChannelEvent, ChannelLog, Following } from "./channel-log.ts";

/** How often a server says again who is present on it, milliseconds. */
const REFRESH_EVERY_MS = 25_000;
/** A server that was not heard of for so long is gone, with everybody on it, milliseconds. */
const SERVER_TTL_MS = 60_000;
/** About how much of a list goes into one event, characters. */
const STATE_PART_LENGTH = 100_000;
/** Announcements that may wait for a slow store; more are left to the next refresh. */
const WAITING_MAX_COUNT = 256;
const READ_COUNT = 500;

export type PresenceChange = { readonly join: Presence } | { readonly leave: Presence };

interface OtherServer {
  heardAt: number;
  readonly members: Map<string, Presence>;
  /** A list of which not all parts have come yet. */
  arriving: Map<string, Presence> | undefined;
}

/** No client can name it, because of the control characters. */
const roomName = (channel: string): string => `\u0001presence\u0001${channel}`;

/**
 * Who is present in a channel on the other servers that share the log. Servers tell each other in a channel of their
 * own: joins and leaves as they happen, and every 25 s the whole list, from whose history a newcomer learns at once
 * who is there. A server that crashed is forgotten, with its members, after 60 s.
 */
export class PresenceRoom {
  readonly #channel: string;
  readonly #server: string;
  readonly #log: ChannelLog;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #logger: Logger;
  readonly #tasks: TaskGroup;
  readonly #localMembers: () => readonly Presence[];
  readonly #onChange: (change: PresenceChange) => void;
  readonly #others = new Map<string, OtherServer>();
  /** Came while the history was read. */
  #early: ChannelEvent[] | undefined;
  #isOpening = false;
  #following: Following | undefined;
  #timer: Timer | undefined;
  #waitingCount = 0;
  #lastPublish: Promise<void>;
  #isClosed = false;
  /** Resolves when the members of the other servers are known, or cannot be known now. */
  readonly opened: Promise<void>;

  constructor(parts: {
    readonly channel: string;
    readonly server: string;
    readonly log: ChannelLog;
    readonly clock: Clock;
    readonly random: Random;
    readonly logger: Logger;
    readonly tasks: TaskGroup;
    /** What this server has still to tell of the channel; what this room tells comes after it. */
    readonly after: Promise<void>;
    readonly localMembers: () => readonly Presence[];
    readonly onChange: (change: PresenceChange) => void;
  }) {
    this.#channel = parts.channel;
    this.#server = parts.server;
    this.#log = parts.log;
    this.#clock = parts.clock;
    this.#random = parts.random;
    this.#logger = parts.logger;
    this.#tasks = parts.tasks;
    this.#lastPublish = parts.after;
    this.#localMembers = parts.localMembers;
    this.#onChange = parts.onChange;
    this.opened = this.#tryToOpen();
    this.#schedule();
  }

  get members(): readonly Presence[] {
    return [...this.#others.values()].flatMap(({ members }) => [...members.values()]);
  }

  joined(presence: Presence): void {
    this.#tell("join", { presence });
  }

  left(key: string): void {
    this.#tell("leave", { key });
  }

  /** Nobody is present here any more. Resolves when the others were told, or could not be; never rejects. */
  close(): Promise<void> {
    if (!this.#isClosed) {
      this.#tell("gone", {});
      this.#isClosed = true;
      this.#timer?.cancel();
      this.#following?.close();
    }
    return this.#lastPublish;
  }

  async #tryToOpen(): Promise<void> {
    this.#early = [];
    this.#isOpening = true;
    try {
      await this.#open();
    } catch (err) {
      this.#early = undefined;
      this.#logger.warn({ err, channel: this.#channel }, "presence on other servers is not known");
    }
    this.#isOpening = false;
  }

  /** The log could not be followed when the first one joined. Those who are told now were told of nobody then. */
  async #openAgain(): Promise<void> {
    await this.#tryToOpen();
    for (const presence of this.members) this.#onChange({ join: presence });
  }

  async #open(): Promise<void> {
    const name = roomName(this.#channel);
    const following = await this.#log.follow(name, {
      onEvents: (events) => {
        if (this.#early === undefined) for (const event of events) this.#apply(event, true);
        else this.#early.push(...events);
      },
      // Whoever lost what we said hears it again; what we missed comes with their next list.
      onReset: () => this.#tellAll(),
    });
    this.#following = following;
    if (this.#isClosed) following.close();
    const { head, trimmedTo } = following.bounds;
    let after = { epoch: head.epoch, offset: trimmedTo };
    while (!this.#isClosed && after.offset < head.offset) {
      const read = await this.#log.read(name, { after, limit: READ_COUNT });
      if (read.kind === "reset") after = { epoch: read.bounds.head.epoch, offset: read.bounds.trimmedTo };
      if (read.kind === "reset" && after.epoch === head.epoch) continue;
      const last = read.kind === "events" ? read.events.at(-1) : undefined;
      if (read.kind === "reset" || last === undefined) break;
      for (const event of read.events) if (event.position.offset <= head.offset) this.#apply(event, false);
      after = last.position;
    }
    for (const event of this.#early ?? []) this.#apply(event, false);
    this.#early = undefined;
    this.#forgetSilent();
  }

  #schedule(): void {
    this.#timer = this.#clock.schedule(
      REFRESH_EVERY_MS,
      () => {
        this.#tellAll();
        this.#forgetSilent();
        if (this.#following === undefined && !this.#isOpening)
          this.#tasks.spawn("follow presence", () => this.#openAgain());
        this.#schedule();
      },
      { unref: true },
    );
  }

  #tellAll(): void {
    const parts: Presence[][] = [[]];
    let length = 0;
    for (const presence of this.#localMembers()) {
      const size = JSON.stringify(presence).length;
      if (length + size > STATE_PART_LENGTH && length > 0) {
        parts.push([]);
        length = 0;
      }
      length += size;
      parts.at(-1)?.push(presence);
    }
    for (const [index, members] of parts.entries())
      this.#tell("state", { members, isFirst: index === 0, isLast: index === parts.length - 1 });
  }

  #tell(event: string, payload: Payload): void {
    if (this.#isClosed || this.#waitingCount >= WAITING_MAX_COUNT) return;
    this.#waitingCount += 1;
    const draft = {
      channel: roomName(this.#channel),
      event,
      payloadText: JSON.stringify({ server: this.#server, ...payload }),
      id: newId("p", this.#random),
    };
    this.#lastPublish = this.#lastPublish.then(async () => {
      try {
        await this.#log.publish([draft]);
      } catch (err) {
        this.#logger.warn({ err, channel: this.#channel }, "presence could not be told to other servers");
      }
      this.#waitingCount -= 1;
    });
    this.#tasks.spawn("tell presence", () => this.#lastPublish);
  }

  #apply({ event, payloadText, ts }: ChannelEvent, isLive: boolean): void {
    const payload: unknown = JSON.parse(payloadText);
    if (!isObject(payload) || typeof payload["server"] !== "string" || payload["server"] === this.#server)
      return;
    const name = payload["server"];
    if (event === "gone") {
      this.#forget(name, isLive);
      return;
    }
    const other = this.#others.get(name) ?? { heardAt: 0, members: new Map(), arriving: undefined };
    this.#others.set(name, other);
    const ageMs = isLive ? 0 : Math.max(0, this.#clock.wallNow() - ts);
    other.heardAt = this.#clock.monotonicNow() - ageMs;
    if (event === "join") this.#set(other, payload["presence"] as Presence, isLive);
    else if (event === "leave") this.#drop(other, String(payload["key"]), isLive);
    else if (event === "state") this.#replace(other, payload, isLive);
  }

  #replace(other: OtherServer, payload: Readonly<Record<string, unknown>>, isLive: boolean): void {
    if (payload["isFirst"] === true) other.arriving = new Map();
    // Of a list that began before the history there is nothing to be made.
    const { arriving } = other;
    if (arriving === undefined) return;
    for (const presence of payload["members"] as readonly Presence[]) arriving.set(presence.key, presence);
    if (payload["isLast"] !== true) return;
    other.arriving = undefined;
    for (const key of [...other.members.keys()]) if (!arriving.has(key)) this.#drop(other, key, isLive);
    for (const presence of arriving.values()) this.#set(other, presence, isLive);
  }

  #set(other: OtherServer, presence: Presence, isLive: boolean): void {
    const before = other.members.get(presence.key);
    other.members.set(presence.key, presence);
    const isSame = before !== undefined && JSON.stringify(before) === JSON.stringify(presence);
    if (isLive && !isSame) this.#onChange({ join: presence });
  }

  #drop(other: OtherServer, key: string, isLive: boolean): void {
    const left = other.members.get(key);
    if (left === undefined) return;
    other.members.delete(key);
    if (isLive) this.#onChange({ leave: left });
  }

  #forgetSilent(): void {
    const oldest = this.#clock.monotonicNow() - SERVER_TTL_MS;
    for (const [name, { heardAt }] of this.#others) if (heardAt < oldest) this.#forget(name, true);
  }

  #forget(name: string, isLive: boolean): void {
    const other = this.#others.get(name);
    if (other === undefined) return;
    this.#others.delete(name);
    for (const key of [...other.members.keys()]) this.#drop(other, key, isLive);
  }
}
