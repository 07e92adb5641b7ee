import type { RedisClient, RedisScript, RedisTransaction } from "@holdfast/coordination/redis";
import {
  type Abortable,
  type Clock,
  ClosedError,
  InvalidInputError,
  type Logger,
  type Random,
  silentLogger,
  systemClock,
  systemRandom,
  TaskGroup,
  untilAborted,
} from "@holdfast/kernel";
import { exponentialBackoff } from "@holdfast/resilience";
import { RedisConnectError } from "../errors.ts";
import { readSlots, slotOf } from "./cluster-slots.ts";
import { RedisLink, type RedisServerInfo } from "./redis-link.ts";
import {
  addressName,
  parseRedisUrl,
  type RedisAddress,
  type RedisCredentials,
  type RedisTarget,
} from "./redis-target.ts";

export type RedisOptions = RedisTarget & {
  /** Milliseconds to wait for a connection, at least 1. Default 1_000. */
  readonly connectTimeoutMs?: number;
  /** A server that answers nothing for this long counts as gone, at least 10. Default 1_000. */
  readonly answerTimeoutMs?: number;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly logger?: Logger;
};

/**
 * Redis 7 or newer over RESP3: one server, a Cluster, or a master that Sentinels name. Fits the `RedisClient` of
 * coordination. Calls fail at once while the server is away, and find it again by themselves.
 */
export interface Redis extends RedisClient, AsyncDisposable {
  /**
   * The connection to the master that serves `key`, with what it said of itself when the connection was opened.
   * @throws RedisConnectError (retryable) when there is none. After a failure the next attempts, with pauses of up to
   *   1 s, run by themselves, and calls meanwhile fail at once.
   */
  link(key: string, options?: Abortable): Promise<VerifiedLink>;
  /** Looks again at which master serves `key`: call it after a MOVED, READONLY or CLUSTERDOWN answer. */
  forgetLink(key: string): void;
  close(): Promise<void>;
}

export interface VerifiedLink {
  readonly link: RedisLink;
  readonly info: RedisServerInfo;
}

const RETRY = exponentialBackoff({ baseMs: 25, capMs: 1_000 });
const MOVED = /^(MOVED|ASK|READONLY|MASTERDOWN|CLUSTERDOWN|NOREPLICAS)\b/;

/** Opens nothing before the first call. @throws InvalidInputError naming the option that is wrong. */
export const openRedis = (options: RedisOptions): Redis => new RedisConnections(options);

interface Place {
  opening?: Promise<VerifiedLink> | undefined;
  current?: VerifiedLink | undefined;
  failedCount: number;
  retryAt: number;
  lastError?: unknown;
}

class RedisConnections implements Redis {
  readonly #seeds: readonly RedisAddress[];
  readonly #credentials: RedisCredentials;
  readonly #seedCredentials: RedisCredentials;
  readonly #kind: "single" | "cluster" | "sentinel";
  readonly #masterName: string;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #connectTimeoutMs: number;
  readonly #answerTimeoutMs: number;
  readonly #loops: TaskGroup;
  /** Who serves what: by slot in a cluster, else one. */
  readonly #places = new Map<string, Place>();
  readonly #nodes = new Map<string, Promise<VerifiedLink>>();
  #slots: Promise<(slot: number) => RedisAddress | undefined> | undefined;
  #closed = false;

  constructor(options: RedisOptions) {
    const urls =
      "url" in options
        ? [options.url]
        : "clusterUrls" in options
          ? options.clusterUrls
          : options.sentinelUrls;
    this.#kind = "url" in options ? "single" : "clusterUrls" in options ? "cluster" : "sentinel";
    if (urls.length === 0) throw new InvalidInputError("urls", urls, "at least one address");
    const parsed = urls.map((url) => parseRedisUrl("url", url));
    this.#seeds = parsed.map(({ address }) => address);
    this.#seedCredentials = parsed[0]?.credentials ?? { tls: false };
    this.#credentials =
      "sentinelUrls" in options
        ? options.credentialsUrl === undefined
          ? { tls: this.#seedCredentials.tls }
          : parseRedisUrl("credentialsUrl", options.credentialsUrl).credentials
        : this.#seedCredentials;
    this.#masterName = "masterName" in options ? options.masterName : "";
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? systemRandom;
    this.#connectTimeoutMs = options.connectTimeoutMs ?? 1_000;
    this.#answerTimeoutMs = options.answerTimeoutMs ?? 1_000;
    this.#loops = new TaskGroup({ logger: options.logger ?? silentLogger });
  }

  link(key: string, options: Abortable = {}): Promise<VerifiedLink> {
    if (this.#closed) return Promise.reject(new ClosedError("the Redis client"));
    const place = this.#placeOf(key);
    if (place.current?.link.isOpen === true) return Promise.resolve(place.current);
    place.current = undefined;
    if (place.opening === undefined) {
      if (this.#clock.monotonicNow() < place.retryAt) return Promise.reject(place.lastError);
      place.opening = this.#open(key, place).finally(() => {
        place.opening = undefined;
      });
      place.opening.catch(() => undefined);
    }
    // After a failure nobody waits for the next attempt: it goes on by itself.
    if (place.failedCount > 0) return Promise.reject(place.lastError);
    return untilAborted(place.opening, options.signal);
  }

  forgetLink(key: string): void {
    this.#slots = undefined;
    const place = this.#placeOf(key);
    // What the server said of itself is no longer true. In a cluster the node may still serve other slots.
    if (this.#kind !== "cluster") place.current?.link.destroy();
    place.current = undefined;
  }

  async runScript(
    script: RedisScript,
    keys: readonly string[],
    args: readonly string[],
    options: Abortable = {},
  ): Promise<unknown> {
    return this.#onLink(keys[0] ?? "", options, (link) => link.runScript(script, keys, args));
  }

  async runTransaction(transaction: RedisTransaction, options: Abortable = {}): Promise<unknown> {
    return this.#onLink(transaction.keys[0] ?? "", options, (link) => link.runTransaction(transaction));
  }

  async #onLink(
    key: string,
    options: Abortable,
    send: (link: RedisLink) => Promise<unknown>,
  ): Promise<unknown> {
    const { link } = await this.link(key, options);
    try {
      return await untilAborted(send(link), options.signal);
    } catch (error) {
      if (error instanceof Error && MOVED.test(error.message)) this.forgetLink(key);
      throw error;
    }
  }

  async subscribe(
    channel: string,
    onMessage: (message: string) => void,
    onInterrupted: () => void = () => undefined,
  ): Promise<AsyncDisposable> {
    const controller = new AbortController();
    const first = await this.link(channel);
    let stop = await first.link.subscribe(channel, onMessage);
    this.#loops.spawn(`subscription of ${channel}`, async (groupSignal) => {
      const signal = AbortSignal.any([groupSignal, controller.signal]);
      let link: RedisLink | undefined = first.link;
      while (!signal.aborted) {
        if (link?.isOpen !== true) {
          if (link !== undefined) onInterrupted();
          try {
            link = (await this.link(channel, { signal })).link;
            stop = await link.subscribe(channel, onMessage);
            // It ended meanwhile, and what ended it knew only the listening before.
            if (controller.signal.aborted) await stop();
            else onInterrupted();
          } catch {
            link = undefined;
          }
        }
        await this.#clock.sleep(100, { signal, unref: true }).catch(() => undefined);
      }
    });
    return {
      [Symbol.asyncDispose]: async () => {
        controller.abort();
        await stop();
      },
    };
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#loops.stop(new ClosedError("the Redis client"));
    for (const node of this.#nodes.values()) {
      await node.then(
        ({ link }) => link.destroy(),
        () => undefined,
      );
    }
    this.#nodes.clear();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #placeOf(key: string): Place {
    const name = this.#kind === "cluster" ? String(slotOf(key)) : "";
    let place = this.#places.get(name);
    if (place === undefined) {
      place = { failedCount: 0, retryAt: 0 };
      this.#places.set(name, place);
    }
    return place;
  }

  async #open(key: string, place: Place): Promise<VerifiedLink> {
    try {
      const verified = await this.#find(key);
      place.current = verified;
      place.failedCount = 0;
      return verified;
    } catch (error) {
      place.failedCount += 1;
      place.lastError = error;
      place.retryAt = this.#clock.monotonicNow() + RETRY.delayMs(place.failedCount, undefined, this.#random);
      this.#slots = undefined;
      throw error;
    }
  }

  async #find(key: string): Promise<VerifiedLink> {
    if (this.#kind === "single") return this.#node(this.#seeds[0] as RedisAddress, this.#credentials);
    return this.#kind === "sentinel" ? this.#findBySentinels() : this.#master(await this.#askCluster(key));
  }

  async #master(address: RedisAddress): Promise<VerifiedLink> {
    const verified = await this.#node(address, this.#credentials);
    if (verified.info.role === "master") return verified;
    verified.link.destroy();
    throw new RedisConnectError(`${verified.link.server} (a replica)`);
  }

  /** One Sentinel after the other, until one names a master that is there: one that was cut off names the last. */
  async #findBySentinels(): Promise<VerifiedLink> {
    let lastError: unknown;
    for (const seed of this.#seeds) {
      try {
        return await this.#master(await this.#askSentinel(seed));
      } catch (error) {
        lastError = error;
      }
    }
    throw lastError;
  }

  async #askSentinel(seed: RedisAddress): Promise<RedisAddress> {
    const link = await this.#connect(seed, this.#seedCredentials, () => undefined);
    try {
      const reply = await link.command(["SENTINEL", "GET-MASTER-ADDR-BY-NAME", this.#masterName]);
      if (Array.isArray(reply)) return { host: String(reply[0]), port: Number(reply[1]) };
      throw new RedisConnectError(`${link.server} (it knows no master ${this.#masterName})`);
    } finally {
      link.destroy();
    }
  }

  async #askCluster(key: string): Promise<RedisAddress> {
    this.#slots ??= this.#readSlots();
    const slots = await this.#slots;
    const address = slots(slotOf(key));
    if (address === undefined) throw new RedisConnectError(`the cluster's master of slot ${slotOf(key)}`);
    return address;
  }

  async #readSlots(): Promise<(slot: number) => RedisAddress | undefined> {
    let lastError: unknown;
    for (const seed of this.#seeds) {
      try {
        const { link } = await this.#node(seed, this.#credentials);
        return readSlots(await link.command(["CLUSTER", "SLOTS"]), seed.host);
      } catch (error) {
        lastError = error;
      }
    }
    throw lastError;
  }

  /** One connection a server, shared by all slots that it serves. */
  #node(address: RedisAddress, credentials: RedisCredentials): Promise<VerifiedLink> {
    const name = addressName(address);
    const known = this.#nodes.get(name);
    if (known !== undefined) return known;
    const drop = (): void => {
      if (this.#nodes.get(name) === opening) this.#nodes.delete(name);
    };
    const opening: Promise<VerifiedLink> = (async () => {
      const link = await this.#connect(address, credentials, drop);
      try {
        return { link, info: await link.info() };
      } catch (cause) {
        link.destroy();
        throw new RedisConnectError(name, { cause });
      }
    })();
    this.#nodes.set(name, opening);
    opening.catch(drop);
    return opening;
  }

  #connect(address: RedisAddress, credentials: RedisCredentials, onClosed: () => void): Promise<RedisLink> {
    // A search that outlasts `close` opens nothing more.
    if (this.#closed) return Promise.reject(new ClosedError("the Redis client"));
    return RedisLink.open({
      address,
      credentials,
      clock: this.#clock,
      connectTimeoutMs: this.#connectTimeoutMs,
      answerTimeoutMs: this.#answerTimeoutMs,
      onClosed,
    });
  }
}
