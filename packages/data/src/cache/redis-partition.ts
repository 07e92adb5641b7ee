import type { RedisScript } from "@holdfast/coordination/redis";
import { Batcher, type Clock, type Random, randomHex } from "@holdfast/kernel";
import { CacheUnavailableError } from "../errors.ts";
import type { Redis, VerifiedLink } from "../redis/open-redis.ts";
import type { CacheScripts } from "./redis-scripts.ts";
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
import { bucketOf, positionText, readStored } from "./stored-text.ts";

/** A false refusal needs a lapsed lease and another key of the bucket invalidated meanwhile: rare with this many. */
const BUCKET_COUNT = 1_024;
/** Events that a process may be behind before it drops its copies instead. */
const EVENTS_KEPT = 1_000;
/** Keys and tags of one call: the server does nothing else meanwhile (some 2 ms). */
const INVALIDATION_MAX_COUNT = 500;
const READ_BATCH_MAX_COUNT = 256;

export interface RedisPartitionOptions {
  readonly redis: Redis;
  readonly scripts: CacheScripts;
  /** The hash tag of every key, without braces. */
  readonly slot: string;
  /** How long tags are kept without being used: longer than any entry. */
  readonly tagKeepMs: number;
  readonly clock: Clock;
  readonly random: Random;
}

interface Session extends VerifiedLink {
  readonly generation: string;
  /** Added to the monotonic clock it gives the server's. */
  serverOffsetMs: number;
}

interface Read {
  readonly lookup: Lookup;
  readonly resolve: (entry: StoredEntry | undefined) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * One partition of a cache: everything in one slot of Redis, on one server.
 *
 * What is known of the server (its incarnation, hence the generation) is known of one connection. A connection
 * that breaks takes that knowledge with it, and the next one starts by asking.
 */
export class RedisPartition implements SharedStore {
  readonly #options: RedisPartitionOptions;
  readonly #keys: { readonly state: string; readonly generation: string; readonly log: string };
  readonly #channel: string;
  readonly #invalidations: Batcher<Invalidation, undefined>;
  #session: Session | undefined;
  #opening: Promise<Session> | undefined;
  #listener: (event: FeedEvent) => void = () => undefined;
  #lastEvent = 0;
  #want = "";
  #reads: Read[] = [];
  #closed = false;

  constructor(options: RedisPartitionOptions) {
    this.#options = options;
    const prefix = `{${options.slot}}`;
    this.#keys = { state: `${prefix}:state`, generation: `${prefix}:gen`, log: `${prefix}:log` };
    this.#channel = `${prefix}:feed`;
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
    this.#listener = listener;
  }

  read(lookup: Lookup): Promise<StoredEntry | undefined> {
    return new Promise((resolve, reject) => {
      if (this.#reads.push({ lookup, resolve, reject }) === 1) queueMicrotask(() => this.#flushReads());
      else if (this.#reads.length >= READ_BATCH_MAX_COUNT) this.#flushReads();
    });
  }

  async claim(
    lookup: Lookup,
    options: { readonly leaseMs: number; readonly knownStamp?: string },
  ): Promise<Claim> {
    return this.#run("claim", async (session) => {
      const reply = (await this.#script(
        session,
        "claim-lease",
        [
          this.#keys.state,
          this.#entryKey(lookup.key),
          this.#leaseKey(lookup.key),
          ...this.#tagKeys(lookup.tags),
        ],
        [
          session.generation,
          String(options.leaseMs),
          String(this.#options.tagKeepMs),
          this.#bucket(lookup.key),
          options.knownStamp ?? "",
        ],
      )) as readonly string[];
      const [kind, first = "", tagStamps = "", bucketFloor = "", base = "", epoch = ""] = reply;
      if (kind === "generation") return undefined;
      if (kind === "held") return { kind };
      if (kind === "present") {
        // The script compared generation and stamps already.
        const head = first.slice(0, first.indexOf(" ", first.indexOf(" ") + 1) + 1);
        const entry = readStored(first, head, this.#serverNow(session));
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
    return this.#run("ticket", async (session) => {
      const [token, tagStamps] = (await this.#script(
        session,
        "take-ticket",
        [this.#keys.state, ...this.#tagKeys(tags)],
        [session.generation, String(this.#options.tagKeepMs)],
      )) as readonly [string, string?];
      if (tagStamps === undefined) return undefined;
      return { generation: session.generation, token, tagStamps, floor: undefined };
    });
  }

  async fill(lookup: Lookup, ticket: Ticket, entry: NewEntry): Promise<StoreOutcome> {
    const { key, tags } = lookup;
    const session = await this.#ready("fill");
    const [epoch, position] = positionText(entry.observed);
    const outcome = (await this.#guarded("fill", session, () =>
      this.#script(
        session,
        "fill-entry",
        [this.#keys.state, this.#entryKey(key), this.#leaseKey(key), ...this.#tagKeys(tags)],
        [
          ticket.generation,
          ticket.token,
          ticket.tagStamps,
          this.#bucket(key),
          epoch,
          position,
          entry.payload,
          String(Math.round(entry.freshMs)),
          String(Math.round(entry.keepMs)),
          String(this.#options.tagKeepMs),
          this.#channel,
          key,
        ],
      ),
    )) as StoreOutcome;
    if (outcome === "generation" && ticket.generation === session.generation) this.#outdated(session);
    return outcome;
  }

  async write(
    lookup: Lookup,
    ticket: Ticket,
    entry: NewEntry,
    position: CachePosition | undefined,
  ): Promise<"stored" | "overtaken"> {
    const { key, tags } = lookup;
    return this.#run("write", async (session) => {
      const [outcome] = (await this.#script(
        session,
        "write-entry",
        [this.#keys.state, this.#keys.log, this.#entryKey(key), this.#leaseKey(key), ...this.#tagKeys(tags)],
        [
          session.generation,
          // A ticket of another generation proves nothing.
          ticket.generation === session.generation ? ticket.token : "-1",
          ticket.tagStamps,
          this.#bucket(key),
          ...positionText(position),
          entry.payload,
          String(Math.round(entry.freshMs)),
          String(Math.round(entry.keepMs)),
          String(this.#options.tagKeepMs),
          this.#channel,
          JSON.stringify({ k: [key], t: [] }),
          String(EVENTS_KEPT),
        ],
      )) as readonly ["stored" | "overtaken" | "generation"];
      return outcome === "generation" ? undefined : outcome;
    });
  }

  async release({ key }: Lookup, { generation, token }: Ticket): Promise<void> {
    const session = await this.#ready("release");
    await this.#guarded("release", session, () =>
      this.#script(
        session,
        "release-lease",
        [this.#leaseKey(key)],
        [`${generation} ${token}`, this.#channel, key],
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
    const session = await this.#ready("clear");
    await this.#guarded("clear", session, () => this.#drop(session));
    await this.#ready("clear");
  }

  async sync(position?: { readonly at: CachePosition; readonly want: string }): Promise<void> {
    await this.#run("sync", async (session) => {
      const [reply, replication] = await Promise.all([
        this.#script(
          session,
          "sync-feed",
          [this.#keys.state, this.#keys.generation, this.#keys.log],
          [
            session.generation,
            String(this.#lastEvent),
            this.#newGeneration(),
            ...positionText(position?.at),
            position?.want ?? "",
            this.#channel,
            String(EVENTS_KEPT),
          ],
        ) as Promise<readonly string[]>,
        session.link.command(["INFO", "replication"]),
      ]);
      const [now, last = "0", wanted = "", gap, ...events] = reply;
      if (now === "generation") return undefined;
      const replId = /^master_replid:(\w+)/m.exec(String(replication))?.[1] ?? "";
      if (!session.info.incarnation.endsWith(`:${replId}`)) {
        // Demoted, or promoted again, without having closed the connection.
        session.link.destroy();
        return undefined;
      }
      session.serverOffsetMs = Number(now) - this.#options.clock.monotonicNow();
      this.#want = wanted;
      if (gap === "1") this.#listener({ kind: "reset" });
      // What came over the channel meanwhile is not given twice.
      const known = Number(last) - events.length;
      events.forEach((text, index) => {
        if (known + index + 1 > this.#lastEvent) this.#deliver(text);
      });
      this.#lastEvent = Math.max(this.#lastEvent, Number(last));
      return true;
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#invalidations.close();
  }

  #flushReads(): void {
    const reads = this.#reads;
    if (reads.length === 0) return;
    this.#reads = [];
    const session = this.#session;
    if (session?.link.isOpen === true) {
      this.#readBatch(session, reads, true);
      return;
    }
    this.#ready("read").then(
      (opened) => this.#readBatch(opened, reads, true),
      (error) => {
        for (const { reject } of reads) reject(error);
      },
    );
  }

  /** One command for all that was asked for in one tick; it is atomic, so an entry and its tags are of one moment. */
  #readBatch(session: Session, reads: readonly Read[], mayRetry: boolean): void {
    const args = ["MGET", this.#keys.generation];
    for (const { lookup } of reads) {
      args.push(this.#entryKey(lookup.key));
      for (const tag of lookup.tags) args.push(this.#tagKey(tag));
    }
    session.link.command(args).then(
      (reply) => {
        const texts = reply as readonly (string | null)[];
        if (texts[0] !== session.generation) {
          this.#outdated(session);
          this.#readAgain(reads, mayRetry);
          return;
        }
        const serverNow = this.#serverNow(session);
        const untagged = `${session.generation} - `;
        let at = 1;
        for (const { lookup, resolve } of reads) {
          const text = texts[at];
          at += 1;
          let head = untagged;
          if (lookup.tags.length > 0) {
            const stamps = texts.slice(at, at + lookup.tags.length);
            at += lookup.tags.length;
            // A tag without a stamp was invalidated or evicted: nobody's entry is valid then.
            head = stamps.includes(null) ? "\n" : `${session.generation} ${stamps.join(",")} `;
          }
          resolve(readStored(text, head, serverNow));
        }
      },
      (error) => {
        const failure = this.#failure("read", session, error);
        for (const { reject } of reads) reject(failure);
      },
    );
  }

  #readAgain(reads: readonly Read[], mayRetry: boolean): void {
    if (!mayRetry) {
      for (const { resolve } of reads) resolve(undefined);
      return;
    }
    this.#ready("read").then(
      (opened) => this.#readBatch(opened, reads, false),
      (error) => {
        for (const { reject } of reads) reject(error);
      },
    );
  }

  async #invalidateBatch(batch: readonly Invalidation[]): Promise<void> {
    const keys = [...new Set(batch.flatMap((each) => each.keys))];
    const tags = [...new Set(batch.flatMap((each) => each.tags))];
    const position = latest(batch);
    await this.#run("invalidate", async (session) => {
      const generation = this.#newGeneration();
      let reply: readonly string[];
      try {
        reply = (await this.#script(
          session,
          "invalidate",
          [
            this.#keys.state,
            this.#keys.generation,
            this.#keys.log,
            ...keys.flatMap((key) => [this.#entryKey(key), this.#leaseKey(key)]),
            ...this.#tagKeys(tags),
          ],
          [
            session.generation,
            generation,
            ...positionText(position),
            this.#channel,
            JSON.stringify({ k: keys, t: tags }),
            String(EVENTS_KEPT),
            String(keys.length),
            ...keys.map((key) => this.#bucket(key)),
          ],
        )) as readonly string[];
      } catch (error) {
        if (!(error instanceof Error && error.message.startsWith("OOM"))) throw error;
        await this.#drop(session);
        return true;
      }
      if (reply[0] === "generation") return undefined;
      if (reply[0] !== session.generation) this.#outdated(session);
      return true;
    });
  }

  async #drop(session: Session): Promise<void> {
    const keys = [this.#keys.state, this.#keys.generation, this.#keys.log];
    await this.#script(session, "drop-state", keys, [this.#channel]);
    this.#outdated(session);
  }

  /** Runs `body` in the present generation; when that is over (undefined), once more in the next. */
  async #run<T>(operation: string, body: (session: Session) => Promise<T | undefined>): Promise<T> {
    for (let attempt = 1; attempt <= 3; attempt += 1) {
      const session = await this.#ready(operation);
      const result = await this.#guarded(operation, session, () => body(session));
      if (result !== undefined) return result;
      this.#outdated(session);
    }
    throw new CacheUnavailableError(operation, { details: { reason: "the generation keeps changing" } });
  }

  async #guarded<T>(operation: string, session: Session, body: () => Promise<T>): Promise<T> {
    try {
      return await body();
    } catch (error) {
      throw this.#failure(operation, session, error);
    }
  }

  #failure(operation: string, session: Session, cause: unknown): CacheUnavailableError {
    if (cause instanceof CacheUnavailableError) return cause;
    if (
      cause instanceof Error &&
      /^(MOVED|ASK|READONLY|MASTERDOWN|CLUSTERDOWN|NOREPLICAS)\b/.test(cause.message)
    ) {
      this.#options.redis.forgetLink(this.#keys.state);
      this.#outdated(session);
    }
    return new CacheUnavailableError(operation, { cause });
  }

  /** What was known of the generation is over: whoever keeps copies drops them. */
  #outdated(session: Session): void {
    if (this.#session !== session) return;
    this.#session = undefined;
    this.#listener({ kind: "reset" });
  }

  #ready(operation: string): Promise<Session> {
    if (this.#closed)
      return Promise.reject(new CacheUnavailableError(operation, { details: { closed: true } }));
    const session = this.#session;
    if (session?.link.isOpen === true) return Promise.resolve(session);
    if (session !== undefined) this.#outdated(session);
    this.#opening ??= this.#open()
      .catch((cause: unknown) => {
        throw new CacheUnavailableError(operation, { cause });
      })
      .finally(() => {
        this.#opening = undefined;
      });
    return this.#opening;
  }

  async #open(): Promise<Session> {
    const { redis, scripts, clock } = this.#options;
    const { link, info } = await redis.link(this.#keys.state);
    // Listening comes first: an event after the state was read is not missed.
    await this.#subscribe(link);
    const [generation = "", events = "0", now] = (await link.runScript(
      scripts["open-state"],
      [this.#keys.state, this.#keys.generation, this.#keys.log],
      [info.incarnation, this.#newGeneration(), this.#channel],
    )) as readonly string[];
    const session: Session = {
      link,
      info,
      generation,
      serverOffsetMs: Number(now) - clock.monotonicNow(),
    };
    this.#lastEvent = Number(events);
    this.#session = session;
    // Between two connections anything may have been missed.
    this.#listener({ kind: "reset" });
    return session;
  }

  #subscribed: object | undefined;

  async #subscribe(link: VerifiedLink["link"]): Promise<void> {
    if (this.#subscribed === link) return;
    await link.subscribe(this.#channel, (message) => {
      if (this.#subscribed === link) this.#onMessage(message);
    });
    this.#subscribed = link;
  }

  #onMessage(message: string): void {
    const session = this.#session;
    if (message.startsWith("f ")) {
      this.#listener({ kind: "filled", key: message.slice(2) });
      return;
    }
    if (session === undefined) return;
    const [kind, generation, number = "", ...rest] = message.split(" ");
    if (kind === "r") {
      if (generation !== session.generation) this.#outdated(session);
      return;
    }
    if (generation !== session.generation) return;
    // A gap is left for the next sync, which knows what is missing.
    if (Number(number) !== this.#lastEvent + 1) return;
    this.#lastEvent += 1;
    this.#deliver(rest.join(" "));
  }

  #deliver(text: string): void {
    const { k: keys, t: tags } = JSON.parse(text) as { k: readonly string[]; t: readonly string[] };
    this.#listener({ kind: "invalidated", keys, tags });
  }

  #script(
    session: Session,
    name: keyof CacheScripts,
    keys: readonly string[],
    args: readonly string[],
  ): Promise<unknown> {
    const script: RedisScript = this.#options.scripts[name];
    return session.link.runScript(script, keys, args);
  }

  #serverNow(session: Session): number {
    return this.#options.clock.monotonicNow() + session.serverOffsetMs;
  }

  #newGeneration(): string {
    return randomHex(this.#options.random, 16);
  }

  #bucket(key: string): string {
    return String(bucketOf(key, BUCKET_COUNT));
  }

  #entryKey(key: string): string {
    return `{${this.#options.slot}}:e:${key}`;
  }

  #leaseKey(key: string): string {
    return `{${this.#options.slot}}:l:${key}`;
  }

  #tagKey(tag: string): string {
    return `{${this.#options.slot}}:t:${tag}`;
  }

  #tagKeys(tags: readonly string[]): readonly string[] {
    return tags.map((tag) => this.#tagKey(tag));
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
