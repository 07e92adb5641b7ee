import { type Clock, deferred, type Timer } from "@holdfast/kernel";
import { RedisConnectError } from "./redis-errors.ts";
import type { RedisLink } from "./redis-link.ts";
import { addressName, type RedisAddress } from "./redis-target.ts";

/** Once most have answered, the others are waited for no longer than this: one that is cut off answers never. */
const GRACE_MS = 100;
/** Of a Sentinel that tells no epoch, or may not tell us: every other one knows better. */
const NO_EPOCH = -1n;

/** The newest configuration that the Sentinels which answer know. */
export interface NamedMaster {
  /** Grows with each failover; -1 when no Sentinel told it. */
  readonly epoch: bigint;
  /** One, unless Sentinels name the same server in several ways, or tell no epoch. */
  readonly addresses: readonly RedisAddress[];
}

export interface SentinelsOptions {
  readonly seeds: readonly RedisAddress[];
  readonly masterName: string;
  readonly clock: Clock;
  /** Opens a connection to one of them. @throws RedisConnectError, ClosedError. */
  readonly connect: (seed: RedisAddress) => Promise<RedisLink>;
}

/**
 * Who the master is, by all Sentinels at once. One that was cut off goes on naming the master from before, so the
 * configuration with the highest epoch counts: the epoch is what Sentinels themselves tell newer from older by.
 */
export class Sentinels {
  readonly #options: SentinelsOptions;
  /** Kept open between questions. */
  readonly #links = new Map<RedisAddress, RedisLink>();
  readonly #asking = new Map<RedisAddress, Promise<Answer>>();
  #newestEpoch = NO_EPOCH;
  #isClosed = false;

  constructor(options: SentinelsOptions) {
    this.#options = options;
  }

  /**
   * Asks every Sentinel, and waits for all, or for most and a moment longer.
   * @throws RedisConnectError when none answers, or too few and what they know is older than what was known before.
   */
  async master(): Promise<NamedMaster> {
    const { answers, lastError } = await this.#askAll();
    if (answers.length === 0) throw lastError;
    const epoch = answers.reduce((newest, each) => (each.epoch > newest ? each.epoch : newest), NO_EPOCH);
    // Most of them do not all lag behind: they were set up anew, and count from the beginning.
    if (epoch < this.#newestEpoch && !this.#isMost(answers.length)) {
      throw new RedisConnectError(
        `the Sentinels of ${this.#options.masterName} (those that answer are behind)`,
      );
    }
    this.#newestEpoch = epoch;
    const newest = answers.filter((each) => each.epoch === epoch).map(({ address }) => address);
    return { epoch, addresses: [...new Map(newest.map((each) => [addressName(each), each])).values()] };
  }

  /** Ends the connections, and waits for those that are being opened. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const link of this.#links.values()) link.destroy();
    this.#links.clear();
    await Promise.allSettled(this.#asking.values());
  }

  #isMost(count: number): boolean {
    return 2 * count > this.#options.seeds.length;
  }

  async #askAll(): Promise<{ readonly answers: readonly Answer[]; readonly lastError: unknown }> {
    const { seeds, clock } = this.#options;
    const answers: Answer[] = [];
    let lastError: unknown;
    let leftCount = seeds.length;
    const enough = deferred<void>();
    let grace: Timer | undefined;
    const onSettled = (): void => {
      leftCount -= 1;
      if (leftCount === 0) enough.resolve();
      else if (this.#isMost(answers.length)) grace ??= clock.schedule(GRACE_MS, enough.resolve);
    };
    for (const [index, seed] of seeds.entries()) {
      void this.#ask(seed)
        .then(
          (answer) => {
            answers[index] = answer;
          },
          (error: unknown) => {
            lastError = error;
          },
        )
        .then(onSettled);
    }
    await enough.promise;
    grace?.cancel();
    // In the order in which they were named, without gaps.
    return { answers: answers.filter((answer) => answer !== undefined), lastError };
  }

  /** A Sentinel that has not answered yet is not asked again beside. */
  #ask(seed: RedisAddress): Promise<Answer> {
    let asking = this.#asking.get(seed);
    if (asking === undefined) {
      asking = this.#askNow(seed).finally(() => this.#asking.delete(seed));
      this.#asking.set(seed, asking);
    }
    return asking;
  }

  async #askNow(seed: RedisAddress): Promise<Answer> {
    const { masterName } = this.#options;
    const link = await this.#link(seed);
    try {
      // In this order: during a failover the new epoch is told before the new address.
      const [epoch, address] = await Promise.all([
        link.command(["SENTINEL", "MASTER", masterName]).then(epochIn, () => NO_EPOCH),
        link.command(["SENTINEL", "GET-MASTER-ADDR-BY-NAME", masterName]),
      ]);
      if (Array.isArray(address)) {
        return { epoch, address: { host: String(address[0]), port: Number(address[1]) } };
      }
    } catch (cause) {
      link.destroy();
      throw new RedisConnectError(link.server, { cause });
    }
    throw new RedisConnectError(`${link.server} (it knows no master ${masterName})`);
  }

  async #link(seed: RedisAddress): Promise<RedisLink> {
    const kept = this.#links.get(seed);
    if (kept?.isOpen === true) return kept;
    const link = await this.#options.connect(seed);
    if (this.#isClosed) link.destroy();
    else this.#links.set(seed, link);
    return link;
  }
}

interface Answer {
  readonly epoch: bigint;
  readonly address: RedisAddress;
}

/** Of the answer to SENTINEL MASTER: a map, or its names and values one after another. */
const epochIn = (reply: unknown): bigint => {
  const fields: readonly unknown[] = Array.isArray(reply)
    ? reply
    : Object.entries(reply instanceof Map ? Object.fromEntries(reply) : (reply ?? {})).flat();
  const text = fields.find((_value, index) => index % 2 === 1 && fields[index - 1] === "config-epoch");
  return /^\d+$/.test(String(text)) ? BigInt(String(text)) : NO_EPOCH;
};
