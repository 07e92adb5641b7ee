import { type Abortable, InvalidInputError } from "@holdfast/kernel";
import { checkBatch, compareByCodePoint } from "../../input-checks.ts";
import type { Json } from "../../json.ts";
import {
  checkGrant,
  checkLeaseName,
  checkLimit,
  checkTtl,
  LAPSED_KEPT_MS,
  LIST_LIMIT_DEFAULT,
} from "../../lease/grant-checks.ts";
import type { GrantOptions, GrantOutcome, LeaseInfo, Leases } from "../../lease/leases.ts";
import { encodeWakeUp, type Notifier } from "../../notifier.ts";
import { leaseKey, releaseKeys } from "../../wake-ups.ts";
import type { ScriptRunner } from "./script-runner.ts";

interface LeaseRef {
  readonly name: string;
  readonly token: bigint;
}

export class RedisLeases implements Leases<never> {
  readonly #scripts: ScriptRunner;
  readonly #keyPrefix: string;
  readonly #tokenKey: string;
  readonly #endsKey: string;
  readonly #notifier: Notifier;
  readonly #channel: string;

  /** `slot` is the hash tag that keeps every key of the store on one node. */
  constructor(scripts: ScriptRunner, slot: string, notifier: Notifier, channel: string) {
    this.#scripts = scripts;
    this.#notifier = notifier;
    this.#channel = channel;
    this.#keyPrefix = `${slot}:lease:`;
    this.#tokenKey = `${slot}:token`;
    this.#endsKey = `${slot}:leases`;
  }

  async grant(name: string, options: GrantOptions): Promise<GrantOutcome> {
    const metadata = checkGrant(name, options);
    const { owner, ttlMs, requestId, signal } = options;
    const reply = await this.#scripts.run<readonly string[]>(
      "grant-lease",
      [this.#keyPrefix + name, this.#tokenKey, this.#endsKey],
      [
        name,
        owner,
        `${ttlMs}`,
        requestId ?? "",
        metadata,
        `${LAPSED_KEPT_MS}`,
        options.awaitRelease ? "1" : "0",
      ],
      { signal, isRepeatable: requestId !== undefined },
    );
    const [granted, ...rest] = reply;
    if (granted === "1") {
      return { kind: "granted", grant: { name, owner, token: BigInt(rest[0] ?? 0), ttlMs } };
    }
    return { kind: "held", holder: toInfo(name, rest) };
  }

  async renew(
    leases: readonly LeaseRef[],
    options: Abortable & { readonly ttlMs: number },
  ): Promise<readonly boolean[]> {
    checkBatch("leases", leases);
    checkTtl("lease.ttlMs", options.ttlMs);
    if (leases.length === 0) return [];
    const reply = await this.#scripts.run<readonly string[]>(
      "renew-leases",
      [this.#endsKey, ...leases.map(({ name }) => this.#keyPrefix + name)],
      [
        `${options.ttlMs}`,
        `${LAPSED_KEPT_MS}`,
        ...leases.flatMap(({ name, token }) => [name, token.toString()]),
      ],
      { signal: options.signal, isRepeatable: true },
    );
    return reply.map((renewed) => renewed === "1");
  }

  async release(lease: LeaseRef, options: Abortable = {}): Promise<boolean> {
    const reply = await this.#scripts.run<string>(
      "release-lease",
      [this.#keyPrefix + lease.name, this.#endsKey],
      [lease.name, lease.token.toString(), this.#channel, encodeWakeUp(releaseKeys(lease.name))],
      { signal: options.signal, isRepeatable: false },
    );
    return reply === "1";
  }

  onReleased(name: string, listener: () => void): () => void {
    return this.#notifier.subscribe(leaseKey(name), listener);
  }

  async read(name: string, options: Abortable = {}): Promise<LeaseInfo | undefined> {
    checkLeaseName(name);
    const reply = await this.#scripts.run<readonly string[]>("read-lease", [this.#keyPrefix + name], [], {
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
      [this.#endsKey],
      [this.#keyPrefix, prefix, options.awaitRelease ? "1" : "0"],
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
    const reply = await this.#scripts.run<string>(
      "revoke-leases",
      [this.#endsKey],
      [this.#keyPrefix, this.#channel],
      {
        signal: options.signal,
        isRepeatable: true,
      },
    );
    return Number(reply);
  }
}

const toInfo = (
  name: string,
  [owner = "", token = "0", remaining = "0", metadata = "null"]: readonly string[],
): LeaseInfo => ({
  name,
  owner,
  token: BigInt(token),
  remainingMs: Math.max(0, Number(remaining)),
  metadata: JSON.parse(metadata) as Json,
});
