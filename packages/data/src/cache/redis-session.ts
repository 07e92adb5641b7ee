import { type Clock, type Random, randomHex } from "@holdfast/kernel";
import type { Redis, VerifiedLink } from "../redis/open-redis.ts";
import { CacheUnavailableError } from "./cache-errors.ts";
import type { RedisKeys } from "./redis-keys.ts";
import type { CacheScripts } from "./redis-scripts.ts";
import type { FeedEvent } from "./shared-store.ts";

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

/** One generation of a partition, met over one connection. */
export interface RedisSession extends VerifiedLink {
  readonly generation: string;
  /** Added to the monotonic clock it gives the server's. */
  serverOffsetMs: number;
}

/** Error replies that say that this server is not, or not now, the one to ask. */
const ELSEWHERE = /^(MOVED|ASK|READONLY|MASTERDOWN|CLUSTERDOWN|NOREPLICAS)\b/;
/** Generations that one call follows before it gives up. */
const ATTEMPT_MAX_COUNT = 3;

/**
 * What is known of a partition's server. Its incarnation, and hence the generation, is known of one connection: when
 * that breaks the knowledge goes with it, and the next one starts by asking.
 */
export class RedisSessions {
  readonly keys: RedisKeys;
  readonly #options: RedisPartitionOptions;
  #session: RedisSession | undefined;
  #opening: Promise<RedisSession> | undefined;
  #subscribed: object | undefined;
  #unsubscribe: (() => Promise<void>) | undefined;
  #listener: (event: FeedEvent) => void = () => undefined;
  #closed = false;
  /** The number of the last event that the listener has, in the present generation. */
  lastEvent = 0;

  constructor(options: RedisPartitionOptions, keys: RedisKeys) {
    this.#options = options;
    this.keys = keys;
  }

  /** The present session, if it can be used at once. */
  get current(): RedisSession | undefined {
    return this.#session?.link.isOpen === true ? this.#session : undefined;
  }

  listen(listener: (event: FeedEvent) => void): void {
    this.#listener = listener;
  }

  emit(event: FeedEvent): void {
    this.#listener(event);
  }

  /** Ends the listening; the connection is the caller's and stays. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#opening?.catch(() => undefined);
    this.#subscribed = undefined;
    await this.#unsubscribe?.();
  }

  /** @throws CacheUnavailableError. */
  ready(operation: string): Promise<RedisSession> {
    if (this.#closed) {
      return Promise.reject(new CacheUnavailableError(operation, { details: { closed: true } }));
    }
    const session = this.#session;
    if (session?.link.isOpen === true) return Promise.resolve(session);
    if (session !== undefined) this.outdated(session);
    this.#opening ??= this.#open()
      .catch((cause: unknown) => {
        throw new CacheUnavailableError(operation, { cause });
      })
      .finally(() => {
        this.#opening = undefined;
      });
    return this.#opening;
  }

  /** Runs `body` in the present generation; when that is over (undefined), again in the next. */
  async run<T>(operation: string, body: (session: RedisSession) => Promise<T | undefined>): Promise<T> {
    for (let attempt = 1; attempt <= ATTEMPT_MAX_COUNT; attempt += 1) {
      const session = await this.ready(operation);
      const result = await this.guarded(operation, session, () => body(session));
      if (result !== undefined) return result;
      this.outdated(session);
    }
    throw new CacheUnavailableError(operation, { details: { reason: "the generation keeps changing" } });
  }

  async guarded<T>(operation: string, session: RedisSession, body: () => Promise<T>): Promise<T> {
    try {
      return await body();
    } catch (error) {
      throw this.failure(operation, session, error);
    }
  }

  failure(operation: string, session: RedisSession, cause: unknown): CacheUnavailableError {
    if (cause instanceof CacheUnavailableError) return cause;
    if (cause instanceof Error && ELSEWHERE.test(cause.message)) {
      this.#options.redis.forgetLink(this.keys.state);
      this.outdated(session);
    }
    return new CacheUnavailableError(operation, { cause });
  }

  /** What was known of the generation is over: whoever keeps copies drops them. */
  outdated(session: RedisSession): void {
    if (this.#session !== session) return;
    this.#session = undefined;
    this.#listener({ kind: "reset" });
  }

  script(
    session: RedisSession,
    name: keyof CacheScripts,
    keys: readonly string[],
    args: readonly string[],
  ): Promise<unknown> {
    return session.link.runScript(this.#options.scripts[name], keys, args);
  }

  serverNow(session: RedisSession): number {
    return this.#options.clock.monotonicNow() + session.serverOffsetMs;
  }

  newGeneration(): string {
    return randomHex(this.#options.random, 16);
  }

  /** Gives the listener what one event of the log says. */
  deliver(text: string): void {
    const { k: keys, t: tags } = JSON.parse(text) as { k: readonly string[]; t: readonly string[] };
    this.#listener({ kind: "invalidated", keys, tags });
  }

  async #open(): Promise<RedisSession> {
    const { redis, scripts, clock } = this.#options;
    const { state, generation: generationKey, log, channel } = this.keys;
    const { link, info } = await redis.link(state);
    // Listening comes first: an event after the state was read is not missed.
    await this.#subscribe(link);
    const [generation = "", events = "0", now] = (await link.runScript(
      scripts["open-state"],
      [state, generationKey, log],
      [info.incarnation, this.newGeneration(), channel],
    )) as readonly string[];
    const session: RedisSession = {
      link,
      info,
      generation,
      serverOffsetMs: Number(now) - clock.monotonicNow(),
    };
    this.lastEvent = Number(events);
    this.#session = session;
    // Between two connections anything may have been missed.
    this.#listener({ kind: "reset" });
    return session;
  }

  async #subscribe(link: VerifiedLink["link"]): Promise<void> {
    if (this.#subscribed === link) return;
    this.#unsubscribe = await link.subscribe(this.keys.channel, (message) => {
      if (this.#subscribed === link) this.#onMessage(message);
    });
    this.#subscribed = link;
  }

  #onMessage(message: string): void {
    if (message.startsWith("f ")) {
      this.#listener({ kind: "filled", key: message.slice(2) });
      return;
    }
    const session = this.#session;
    if (session === undefined) return;
    const [kind, generation, number = "", ...rest] = message.split(" ");
    if (kind === "r") {
      if (generation !== session.generation) this.outdated(session);
      return;
    }
    // A gap is left for the next sync, which knows what is missing.
    if (generation !== session.generation || Number(number) !== this.lastEvent + 1) return;
    this.lastEvent += 1;
    this.deliver(rest.join(" "));
  }
}
