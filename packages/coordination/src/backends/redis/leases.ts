import {
  type Abortable,
  type Clock,
  InvalidInputError,
  isHoldfastError,
  type Logger,
  newId,
  type Random,
  randomInt,
  type TaskGroup,
} from "@holdfast/kernel";
import { checkBatch, compareByCodePoint } from "../../input-checks.ts";
import {
  checkGrant,
  checkLeaseName,
  checkLimit,
  checkTtl,
  LAPSED_KEPT_MS,
  LIST_LIMIT_DEFAULT,
} from "../../lease/grant-checks.ts";
import type {
  GrantOptions,
  GrantOutcome,
  LeaseInfo,
  Leases,
  LinePlace,
  StandInLineOptions,
} from "../../lease/leases.ts";
import { type Listen, Notifier } from "../../notifier.ts";
import { leaseKey, WakeUps } from "../../wake-ups.ts";
import { type GrantReply, toInfo, toOutcome } from "./grant-reply.ts";
import { RedisLinePlace } from "./line-place.ts";
import type { ScriptRunner } from "./script-runner.ts";

interface LeaseRef {
  readonly name: string;
  readonly token: bigint;
}

/** Lapsed leases cost memory only, so they are looked for seldom. */
const SWEEP_EVERY_MS = 600_000;

/** As grant-lease.lua keeps it: whole milliseconds, eight digits up to a day. */
const ttlText = (ttlMs: number): string => Math.ceil(ttlMs).toString().padStart(8, "0");

/** As grant-lease.lua keeps them; its release has nothing to do yet. */
const termsOf = (ttlMs: number, requestId: string, owner: string, metadata: string): string =>
  `${ttlText(ttlMs)}0${requestId}\0${owner}\0${metadata}`;

export interface RedisLeasesParts {
  readonly scripts: ScriptRunner;
  /** The hash tag that keeps every key of the store on one node. */
  readonly slot: string;
  readonly notifier: Notifier;
  readonly channel: string;
  readonly listen: Listen;
  readonly loops: TaskGroup;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

export class RedisLeases implements Leases<never> {
  readonly #parts: RedisLeasesParts;
  readonly #scripts: ScriptRunner;
  readonly #keys: readonly [string];
  /** Where this store is told of leases that were handed to it. Nobody else listens there. */
  readonly #inboxChannel: string;
  readonly #inboxWakeUps: WakeUps;
  readonly #inbox: Notifier;
  #sweepAt = Number.NEGATIVE_INFINITY;

  constructor(parts: RedisLeasesParts) {
    const { slot, listen, loops, clock, random, logger } = parts;
    this.#parts = parts;
    this.#scripts = parts.scripts;
    this.#keys = [`${slot}:leases`];
    this.#inboxChannel = `${slot}:${newId("inbox", random)}`;
    this.#inboxWakeUps = new WakeUps((err, key) => logger.error({ err, key }, "a wake-up listener threw"));
    this.#inbox = new Notifier({
      listen,
      channel: this.#inboxChannel,
      wakeUps: this.#inboxWakeUps,
      loops,
      clock,
      logger,
    });
  }

  async grant(name: string, options: GrantOptions): Promise<GrantOutcome> {
    const metadata = checkGrant(name, options);
    const { owner, ttlMs, requestId = "", signal } = options;
    this.#sweepSometimes();
    const terms = termsOf(ttlMs, requestId, owner, metadata);
    const reply = await this.#scripts.run<GrantReply>(
      "grant-lease",
      this.#keys,
      // What is usual goes without saying: each argument costs.
      options.awaitRelease ? [name, terms, "1"] : [name, terms],
      { signal, isRepeatable: requestId !== "" },
    );
    return toOutcome(reply, name, options);
  }

  standInLine(name: string, options: StandInLineOptions): LinePlace {
    const metadata = checkGrant(name, options);
    const { ttlMs, owner, requestId } = options;
    const { clock, loops, logger } = this.#parts;
    const terms = termsOf(ttlMs, requestId, owner, metadata);
    return new RedisLinePlace(name, options, {
      clock,
      ask: async ({ placeMs, termMs, lineMaxCount }, signal) =>
        this.#scripts.run<GrantReply>(
          "grant-lease",
          this.#keys,
          [
            name,
            terms,
            "",
            this.#inboxChannel,
            `${placeMs}`,
            ttlText(Math.min(ttlMs, termMs)),
            `${lineMaxCount}`,
          ],
          { signal, isRepeatable: true },
        ),
      listen: (listener) => this.#inbox.subscribe(requestId, listener),
      leave: () =>
        loops.spawn("leaving a line", async (signal) => {
          try {
            await this.#scripts.run("release-lease", this.#keys, [name, "", requestId], {
              signal,
              isRepeatable: true,
            });
          } catch (err) {
            // The place lapses by itself, and so does what was handed over meanwhile.
            if (!signal.aborted && !isHoldfastError(err)) throw err;
            logger.debug({ err, lease: name }, "could not leave the line; the place lapses");
          }
        }),
    });
  }

  async renew(
    leases: readonly LeaseRef[],
    options: Abortable & { readonly ttlMs: number },
  ): Promise<readonly boolean[]> {
    checkBatch("leases", leases);
    checkTtl("lease.ttlMs", options.ttlMs);
    if (leases.length === 0) return [];
    this.#sweepSometimes();
    const reply = await this.#scripts.run<readonly string[]>(
      "renew-leases",
      this.#keys,
      [ttlText(options.ttlMs), ...leases.flatMap(({ name, token }) => [name, token.toString()])],
      { signal: options.signal, isRepeatable: true },
    );
    return reply.map((renewed) => renewed === "1");
  }

  async release(lease: LeaseRef, options: Abortable = {}): Promise<boolean> {
    const reply = await this.#scripts.run<number>(
      "release-lease",
      this.#keys,
      [lease.name, lease.token.toString()],
      { signal: options.signal, isRepeatable: false },
    );
    return Number(reply) === 1;
  }

  onReleased(name: string, listener: () => void): () => void {
    return this.#parts.notifier.subscribe(leaseKey(name), listener);
  }

  async read(name: string, options: Abortable = {}): Promise<LeaseInfo | undefined> {
    checkLeaseName(name);
    const reply = await this.#scripts.run<readonly string[]>("read-lease", this.#keys, [name], {
      signal: options.signal,
      isRepeatable: true,
    });
    return reply.length === 0 ? undefined : toInfo(name, reply);
  }

  async list(
    prefix: string,
    options: Abortable & { readonly limit?: number; readonly awaitRelease?: boolean } = {},
  ): Promise<readonly LeaseInfo[]> {
    const limit = checkLimit(options.limit, LIST_LIMIT_DEFAULT);
    const reply = await this.#scripts.run<readonly string[]>(
      "list-leases",
      this.#keys,
      [prefix, options.awaitRelease ? "1" : "0"],
      { signal: options.signal, isRepeatable: true },
    );
    const infos: LeaseInfo[] = [];
    for (let index = 0; index < reply.length; index += 5) {
      infos.push(toInfo(reply[index] as string, reply.slice(index + 1, index + 5)));
    }
    return infos.sort((a, b) => compareByCodePoint(a.name, b.name)).slice(0, limit);
  }

  assertFence(): Promise<void> {
    return Promise.reject(new InvalidInputError("tx", "a transaction", "of a store that has transactions"));
  }

  nextToken(): Promise<bigint> {
    return Promise.reject(new InvalidInputError("tx", "a transaction", "of a store that has transactions"));
  }

  async revokeAll(options: Abortable = {}): Promise<number> {
    const reply = await this.#scripts.run<string>("revoke-leases", this.#keys, [this.#parts.channel], {
      signal: options.signal,
      isRepeatable: true,
    });
    return Number(reply);
  }

  /** Wakes who stands in line, so that it finds out that the store is closed. */
  close(): void {
    this.#inboxWakeUps.wakeAll();
  }

  #sweepSometimes(): void {
    const { clock, random, loops, logger } = this.#parts;
    const now = clock.monotonicNow();
    if (now < this.#sweepAt) return;
    // Spread, so that the processes that share a store do not all look at the same time.
    this.#sweepAt = now + SWEEP_EVERY_MS / 2 + randomInt(random, SWEEP_EVERY_MS);
    loops.spawn("sweep of lapsed leases", async (signal) => {
      try {
        let cursor = "0";
        do {
          cursor = await this.#scripts.run<string>(
            "sweep-leases",
            this.#keys,
            [cursor, `${LAPSED_KEPT_MS}`],
            { signal, isRepeatable: true },
          );
        } while (cursor !== "0");
      } catch (err) {
        if (!signal.aborted && !isHoldfastError(err)) throw err;
        logger.debug({ err }, "could not sweep lapsed leases; trying again later");
      }
    });
  }
}
