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
import { integerOption } from "../sql/integer-option.ts";
import { readSlots, slotOf } from "./cluster-slots.ts";
import { RedisConnectError } from "./redis-errors.ts";
import { RedisLink, type RedisServerInfo } from "./redis-link.ts";
import {
  addressName,
  parseRedisUrl,
  type RedisAddress,
  type RedisCredentials,
  type RedisTarget,
} from "./redis-target.ts";
import { Sentinels } from "./sentinels.ts";

export type RedisOptions = RedisTarget & {
  /** Milliseconds to wait for a connection, 1 to 2^31 - 1. Default 1_000. */
  readonly connectTimeoutMs?: number;
  /** A server that answers nothing for so many milliseconds counts as gone, 10 to 2^31 - 1. Default 1_000. */
  readonly answerTimeoutMs?: number;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly logger?: Logger;
};

/**
 * Redis 7 or newer over RESP3: one server, a Cluster, or a master that Sentinels name. Fits the `RedisClient` of
 * coordination. Calls fail at once while the server is away, and find it again by themselves.
 *
 * With Sentinels the master is the one of the newest configuration that any of them knows, when it takes itself for the
 * master, too; once a second they are asked whether there is a newer one. That is not a fence. A master that was
 * replaced while it was frozen or cut off takes writes until a Sentinel that knows of it has answered, and those writes
 * are lost; where only Sentinels answer that have not heard, for as long as that lasts. `min-replicas-to-write 1` on the
 * servers has a master that is alone refuse writes by itself.
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
const DURATION_MAX_MS = 2 ** 31 - 1;
/** How often Sentinels are asked whether the master is still the one that we write to. */
const LOOK_EVERY_MS = 1_000;
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
  /** With what knows the master, and the configuration that it knew when the present link was opened. */
  readonly #sentinels: Sentinels | undefined;
  #epoch: bigint | undefined;
  #isWatching = false;
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
    const [field, urls] =
      "url" in options
        ? ["url", [options.url]]
        : "clusterUrls" in options
          ? ["clusterUrls", options.clusterUrls]
          : ["sentinelUrls", options.sentinelUrls];
    this.#kind = "url" in options ? "single" : "clusterUrls" in options ? "cluster" : "sentinel";
    if (urls.length === 0) throw new InvalidInputError(field, urls, "at least one address");
    const parsed = urls.map((url, index) =>
      parseRedisUrl(field === "url" ? field : `${field}[${index}]`, url),
    );
    this.#seeds = parsed.map(({ address }) => address);
    this.#seedCredentials = parsed[0]?.credentials ?? { tls: false };
    this.#credentials =
      "sentinelUrls" in options
        ? options.credentialsUrl === undefined
          ? { tls: this.#seedCredentials.tls }
          : parseRedisUrl("credentialsUrl", options.credentialsUrl).credentials
        : this.#seedCredentials;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? systemRandom;
    const { connectTimeoutMs = 1_000, answerTimeoutMs = 1_000 } = options;
    this.#connectTimeoutMs = integerOption("connectTimeoutMs", connectTimeoutMs, 1, DURATION_MAX_MS);
    this.#answerTimeoutMs = integerOption("answerTimeoutMs", answerTimeoutMs, 10, DURATION_MAX_MS);
    if ("sentinelUrls" in options) {
      const { masterName } = options;
      if (masterName === "")
        throw new InvalidInputError("masterName", masterName, "what the Sentinels call it");
      this.#sentinels = new Sentinels({
        seeds: this.#seeds,
        masterName,
        clock: this.#clock,
        connect: (seed) => this.#connect(seed, this.#seedCredentials, () => undefined),
      });
    }
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
    const sentinelsClosed = this.#sentinels?.close();
    await this.#loops.stop(new ClosedError("the Redis client"));
    await sentinelsClosed;
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
    return this.#sentinels === undefined
      ? this.#master(await this.#askCluster(key))
      : this.#findBySentinels(this.#sentinels);
  }

  async #master(address: RedisAddress): Promise<VerifiedLink> {
    const verified = await this.#node(address, this.#credentials);
    if (verified.info.role === "master") return verified;
    verified.link.destroy();
    throw new RedisConnectError(`${verified.link.server} (a replica)`);
  }

  async #findBySentinels(sentinels: Sentinels): Promise<VerifiedLink> {
    let lastError: unknown;
    try {
      const { epoch, addresses } = await sentinels.master();
      for (const address of addresses) {
        try {
          const verified = await this.#master(address);
          this.#epoch = epoch;
          this.#watchMaster(sentinels);
          return verified;
        } catch (error) {
          lastError = error;
        }
      }
    } catch (error) {
      lastError = error;
    }
    throw this.#closed ? new ClosedError("the Redis client") : lastError;
  }

  /** An old master that was frozen, or is cut off with us, does not say that another one took its place. */
  #watchMaster(sentinels: Sentinels): void {
    if (this.#isWatching) return;
    this.#isWatching = true;
    this.#loops.spawn("watch of the master", async (signal) => {
      while (!signal.aborted) {
        await this.#clock.sleep(LOOK_EVERY_MS, { signal, unref: true }).catch(() => undefined);
        const { current } = this.#placeOf("");
        if (signal.aborted || current?.link.isOpen !== true) continue;
        const named = await sentinels.master().catch(() => undefined);
        // What only those say that are behind is no news.
        if (named === undefined || this.#epoch === undefined || named.epoch <= this.#epoch) continue;
        if (this.#placeOf("").current !== current) continue;
        const isSame = named.addresses.some((address) => addressName(address) === current.link.server);
        if (isSame) this.#epoch = named.epoch;
        else this.forgetLink("");
      }
    });
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
