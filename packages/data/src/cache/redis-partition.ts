import { Batcher } from "@holdfast/kernel";
import { RedisKeys } from "./redis-keys.ts";
import { readEntries } from "./redis-reads.ts";
import { type RedisPartitionOptions, type RedisSession, RedisSessions } from "./redis-session.ts";
import type {
  CachePosition,
  Claim,
  FeedEvent,
  Invalidation,
  Lookup,
  NewEntry,
  SharedStore,
  StoredEntry,
  StoreOutcome,
  Ticket,
} from "./shared-store.ts";
import { positionText, readStored } from "./stored-text.ts";

/** Events that a process may be behind before it drops its copies instead. */
const EVENTS_KEPT = 1_000;
/** Keys and tags of one call: the server does nothing else meanwhile (some 2 ms). */
const INVALIDATION_MAX_COUNT = 500;
/** One partition of a cache: everything in one slot of Redis, on one server. */
export class RedisPartition implements SharedStore {
  readonly #options: RedisPartitionOptions;
  readonly #keys: RedisKeys;
  readonly #sessions: RedisSessions;
  readonly #invalidations: Batcher<Invalidation, undefined>;
  #want = "";

  constructor(options: RedisPartitionOptions) {
    this.#options = options;
    this.#keys = new RedisKeys(options.slot);
    this.#sessions = new RedisSessions(options, this.#keys);
    this.#invalidations = new Batcher({
      name: "cache invalidations",
      run: async (batch) => {
        await this.#invalidateBatch(batch);
        return batch.map(() => undefined);
      },
      batchMaxCount: INVALIDATION_MAX_COUNT,
      pendingMaxCount: 100_000,
      weigh: ({ keys, tags }) => keys.length + tags.length,
      batchMaxWeight: INVALIDATION_MAX_COUNT,
    });
  }

  get positionWanted(): string {
    return this.#want;
  }

  listen(listener: (event: FeedEvent) => void): void {
    this.#sessions.listen(listener);
  }

  read(lookups: readonly Lookup[]): Promise<readonly (StoredEntry | undefined)[]> {
    return readEntries(this.#sessions, lookups);
  }

  async claim(
    lookup: Lookup,
    options: { readonly leaseMs: number; readonly knownStamp?: string },
  ): Promise<Claim> {
    return this.#sessions.run("claim", async (session) => {
      const reply = (await this.#sessions.script(
        session,
        "claim-lease",
        [
          this.#keys.state,
          this.#keys.entry(lookup.key),
          this.#keys.lease(lookup.key),
          ...this.#keys.tags(lookup.tags),
        ],
        [
          session.generation,
          String(Math.round(options.leaseMs)),
          String(this.#options.tagKeepMs),
          this.#keys.bucket(lookup.key),
          options.knownStamp ?? "",
        ],
      )) as readonly string[];
      const [kind, first = "", tagStamps = "", bucketFloor = "", base = "", epoch = ""] = reply;
      if (kind === "generation") return undefined;
      if (kind === "held") return { kind };
      if (kind === "present") {
        // The script compared generation and stamps already.
        const head = first.slice(0, first.indexOf(" ", first.indexOf(" ") + 1) + 1);
        const entry = readStored(first, head, this.#sessions.serverNow(session));
        return entry === undefined ? { kind: "held" } : { kind, entry };
      }
      const floor: CachePosition | undefined =
        base === "" || epoch === ""
          ? undefined
          : { epoch: BigInt(epoch), position: BigInt(base > bucketFloor ? base : bucketFloor) };
      return { kind: "granted", ticket: { generation: session.generation, token: first, tagStamps, floor } };
    });
  }

  async ticket({ tags }: Lookup): Promise<Ticket> {
    return this.#sessions.run("ticket", async (session) => {
      const [token, tagStamps] = (await this.#sessions.script(
        session,
        "take-ticket",
        [this.#keys.state, ...this.#keys.tags(tags)],
        [session.generation, String(this.#options.tagKeepMs)],
      )) as readonly [string, string?];
      if (tagStamps === undefined) return undefined;
      return { generation: session.generation, token, tagStamps, floor: undefined };
    });
  }

  async fill(lookup: Lookup, ticket: Ticket, entry: NewEntry): Promise<StoreOutcome> {
    const { key, tags } = lookup;
    const session = await this.#sessions.ready("fill");
    const [epoch, position] = positionText(entry.observed);
    const outcome = (await this.#sessions.guarded("fill", session, () =>
      this.#sessions.script(
        session,
        "fill-entry",
        [this.#keys.state, this.#keys.entry(key), this.#keys.lease(key), ...this.#keys.tags(tags)],
        [
          ticket.generation,
          ticket.token,
          ticket.tagStamps,
          this.#keys.bucket(key),
          epoch,
          position,
          entry.payload,
          String(Math.round(entry.freshMs)),
          String(Math.round(entry.keepMs)),
          String(this.#options.tagKeepMs),
          this.#keys.channel,
          key,
        ],
      ),
    )) as StoreOutcome;
    if (outcome === "generation" && ticket.generation === session.generation)
      this.#sessions.outdated(session);
    return outcome;
  }

  async write(
    lookup: Lookup,
    ticket: Ticket,
    entry: NewEntry,
    position: CachePosition | undefined,
  ): Promise<"stored" | "overtaken"> {
    const { key, tags } = lookup;
    return this.#sessions.run("write", async (session) => {
      const [outcome] = (await this.#sessions.script(
        session,
        "write-entry",
        [
          this.#keys.state,
          this.#keys.log,
          this.#keys.entry(key),
          this.#keys.lease(key),
          ...this.#keys.tags(tags),
        ],
        [
          session.generation,
          // A ticket of another generation proves nothing.
          ticket.generation === session.generation ? ticket.token : "-1",
          ticket.tagStamps,
          this.#keys.bucket(key),
          ...positionText(position),
          entry.payload,
          String(Math.round(entry.freshMs)),
          String(Math.round(entry.keepMs)),
          String(this.#options.tagKeepMs),
          this.#keys.channel,
          JSON.stringify({ k: [key], t: [] }),
          String(EVENTS_KEPT),
        ],
      )) as readonly ["stored" | "overtaken" | "generation"];
      return outcome === "generation" ? undefined : outcome;
    });
  }

  async release({ key }: Lookup, { generation, token }: Ticket): Promise<void> {
    const session = await this.#sessions.ready("release");
    await this.#sessions.guarded("release", session, () =>
      this.#sessions.script(
        session,
        "release-lease",
        [this.#keys.lease(key)],
        [`${generation} ${token}`, this.#keys.channel, key],
      ),
    );
  }

  async invalidate(invalidation: Invalidation): Promise<void> {
    const { keys, tags, position } = invalidation;
    if (keys.length + tags.length <= INVALIDATION_MAX_COUNT) {
      await this.#invalidations.add(invalidation);
      return;
    }
    const parts: Invalidation[] = [];
    for (let at = 0; at < keys.length; at += INVALIDATION_MAX_COUNT) {
      parts.push({ keys: keys.slice(at, at + INVALIDATION_MAX_COUNT), tags: [], position });
    }
    for (let at = 0; at < tags.length; at += INVALIDATION_MAX_COUNT) {
      parts.push({ keys: [], tags: tags.slice(at, at + INVALIDATION_MAX_COUNT), position });
    }
    await Promise.all(parts.map((part) => this.#invalidations.add(part)));
  }

  async clear(): Promise<void> {
    const session = await this.#sessions.ready("clear");
    await this.#sessions.guarded("clear", session, () => this.#drop(session));
    await this.#sessions.ready("clear");
  }

  async sync(position?: { readonly at: CachePosition; readonly want: string }): Promise<void> {
    await this.#sessions.run("sync", async (session) => {
      const [reply, replication] = await Promise.all([
        this.#sessions.script(
          session,
          "sync-feed",
          [this.#keys.state, this.#keys.generation, this.#keys.log],
          [
            session.generation,
            String(this.#sessions.lastEvent),
            this.#sessions.newGeneration(),
            ...positionText(position?.at),
            position?.want ?? "",
            this.#keys.channel,
            String(EVENTS_KEPT),
          ],
        ) as Promise<readonly string[]>,
        session.link.command(["INFO", "replication"]),
      ]);
      const [now, last = "0", wanted = "", gap, ...events] = reply;
      if (now === "generation" || this.#sessions.current !== session) return undefined;
      const replId = /^master_replid:(\w+)/m.exec(String(replication))?.[1] ?? "";
      if (!session.info.incarnation.endsWith(`:${replId}`)) {
        // Demoted, or promoted again, without having closed the connection.
        session.link.destroy();
        return undefined;
      }
      session.serverOffsetMs = Number(now) - this.#options.clock.monotonicNow();
      this.#want = wanted;
      if (gap === "1") this.#sessions.emit({ kind: "reset" });
      // What came over the channel meanwhile is not given twice.
      const known = Number(last) - events.length;
      events.forEach((text, index) => {
        if (known + index + 1 > this.#sessions.lastEvent) this.#sessions.deliver(text);
      });
      this.#sessions.lastEvent = Math.max(this.#sessions.lastEvent, Number(last));
      return true;
    });
  }

  async close(): Promise<void> {
    await this.#invalidations.close();
    await this.#sessions.close();
  }

  async #invalidateBatch(batch: readonly Invalidation[]): Promise<void> {
    const keys = [...new Set(batch.flatMap((each) => each.keys))];
    const tags = [...new Set(batch.flatMap((each) => each.tags))];
    const position = latest(batch);
    await this.#sessions.run("invalidate", async (session) => {
      const generation = this.#sessions.newGeneration();
      let reply: readonly string[];
      try {
        reply = (await this.#sessions.script(
          session,
          "invalidate",
          [
            this.#keys.state,
            this.#keys.generation,
            this.#keys.log,
            ...keys.flatMap((key) => [this.#keys.entry(key), this.#keys.lease(key)]),
            ...this.#keys.tags(tags),
          ],
          [
            session.generation,
            generation,
            ...positionText(position),
            this.#keys.channel,
            JSON.stringify({ k: keys, t: tags }),
            String(EVENTS_KEPT),
            String(keys.length),
            ...keys.map((key) => this.#keys.bucket(key)),
          ],
        )) as readonly string[];
      } catch (error) {
        if (!(error instanceof Error && error.message.startsWith("OOM"))) throw error;
        await this.#drop(session);
        return true;
      }
      if (reply[0] === "generation") return undefined;
      if (reply[0] !== session.generation) this.#sessions.outdated(session);
      return true;
    });
  }

  async #drop(session: RedisSession): Promise<void> {
    const keys = [this.#keys.state, this.#keys.generation, this.#keys.log];
    await this.#sessions.script(session, "drop-state", keys, [this.#keys.channel]);
    this.#sessions.outdated(session);
  }
}

/** The last position of several changes; unknown when one of them is. */
const latest = (batch: readonly Invalidation[]): CachePosition | undefined => {
  let last: CachePosition | undefined;
  for (const { position } of batch) {
    if (position === undefined) return undefined;
    if (
      last === undefined ||
      position.epoch > last.epoch ||
      (position.epoch === last.epoch && position.position > last.position)
    ) {
      last = position;
    }
  }
  return last;
};
