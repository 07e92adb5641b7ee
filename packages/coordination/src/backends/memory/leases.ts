import type { Abortable } from "@holdfast/kernel";
import { LeaseLostError } from "../../errors.ts";
import { compareByCodePoint } from "../../input-checks.ts";
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
import { leaseKey, releaseKeys, type WakeUps } from "../../wake-ups.ts";
import type { MemoryParts } from "./parts.ts";
import type { StoreClock } from "./store-clock.ts";
import type { TokenLine } from "./token-line.ts";
import type { MemoryTx, Transactor } from "./transactor.ts";

interface Held {
  readonly name: string;
  readonly owner: string;
  readonly token: bigint;
  readonly metadataText: string;
  readonly requestId: string | undefined;
  expiresAt: number;
}

interface LeaseRef {
  readonly name: string;
  readonly token: bigint;
}

export class MemoryLeases implements Leases<MemoryTx> {
  readonly #transactor: Transactor;
  readonly #clock: StoreClock;
  readonly #tokens: TokenLine;
  readonly #wakeUps: WakeUps;
  readonly #held = new Map<string, Held>();
  #sweepAtCount = 1024;

  constructor(parts: MemoryParts) {
    this.#transactor = parts.transactor;
    this.#clock = parts.storeClock;
    this.#tokens = parts.tokens;
    this.#wakeUps = parts.wakeUps;
  }

  async grant(name: string, options: GrantOptions): Promise<GrantOutcome> {
    const metadataText = checkGrant(name, options);
    const { owner, ttlMs, requestId } = options;
    return this.#transactor.run({ signal: options.signal }, () => {
      const now = this.#clock.now();
      const current = this.#held.get(name);
      const isRepeat = requestId !== undefined && current?.requestId === requestId;
      if (current !== undefined && !isRepeat && current.expiresAt > now) {
        return { kind: "held", holder: toInfo(current, now) };
      }
      const token = isRepeat && current !== undefined ? current.token : this.#tokens.next();
      this.#held.set(name, { name, owner, token, metadataText, requestId, expiresAt: now + ttlMs });
      this.#sweep(now);
      return { kind: "granted", grant: { name, owner, token, ttlMs } };
    });
  }

  async renew(
    leases: readonly LeaseRef[],
    options: Abortable & { readonly ttlMs: number },
  ): Promise<readonly boolean[]> {
    checkTtl("lease.ttlMs", options.ttlMs);
    return this.#transactor.run({ signal: options.signal }, () => {
      const expiresAt = this.#clock.now() + options.ttlMs;
      return leases.map(({ name, token }) => {
        const held = this.#held.get(name);
        if (held?.token !== token) return false;
        held.expiresAt = expiresAt;
        return true;
      });
    });
  }

  release(lease: LeaseRef, options: Abortable = {}): Promise<boolean> {
    return this.#transactor.run({ signal: options.signal }, (change) => {
      const held = this.#held.get(lease.name);
      if (held?.token !== lease.token) return false;
      this.#held.delete(lease.name);
      for (const key of releaseKeys(lease.name)) change.wakeOnCommit(key);
      return true;
    });
  }

  onReleased(name: string, listener: () => void): () => void {
    return this.#wakeUps.subscribe(leaseKey(name), listener);
  }

  async read(name: string, options: Abortable = {}): Promise<LeaseInfo | undefined> {
    checkLeaseName(name);
    return this.#transactor.run({ signal: options.signal }, () => {
      const now = this.#clock.now();
      const held = this.#held.get(name);
      return held === undefined || held.expiresAt <= now ? undefined : toInfo(held, now);
    });
  }

  async list(
    prefix: string,
    options: Abortable & { readonly limit?: number } = {},
  ): Promise<readonly LeaseInfo[]> {
    const limit = checkLimit(options.limit, LIST_LIMIT_DEFAULT);
    return this.#transactor.run({ signal: options.signal }, () => {
      const now = this.#clock.now();
      return [...this.#held.values()]
        .filter((held) => held.expiresAt > now && held.name.startsWith(prefix))
        .sort((a, b) => compareByCodePoint(a.name, b.name))
        .slice(0, limit)
        .map((held) => toInfo(held, now));
    });
  }

  assertFence(lease: LeaseRef, tx: MemoryTx): Promise<void> {
    // Nothing else runs until the transaction ends, so what holds now holds until then.
    return this.#transactor.run({ tx }, () => {
      const held = this.#held.get(lease.name);
      if (held?.token !== lease.token || held.expiresAt <= this.#clock.now()) {
        throw new LeaseLostError(lease.name, lease.token);
      }
    });
  }

  nextToken(tx: MemoryTx): Promise<bigint> {
    return this.#transactor.run({ tx }, () => this.#tokens.next());
  }

  revokeAll(options: Abortable = {}): Promise<number> {
    return this.#transactor.run({ signal: options.signal }, (change) => {
      const now = this.#clock.now();
      let count = 0;
      for (const held of this.#held.values()) {
        if (held.expiresAt > now) count += 1;
        for (const key of releaseKeys(held.name)) change.wakeOnCommit(key);
      }
      this.#held.clear();
      return count;
    });
  }

  /** Forgets long lapsed leases each time the table has doubled, so a grant stays cheap on average. */
  #sweep(now: number): void {
    if (this.#held.size < this.#sweepAtCount) return;
    for (const held of this.#held.values()) {
      if (held.expiresAt <= now - LAPSED_KEPT_MS) this.#held.delete(held.name);
    }
    this.#sweepAtCount = Math.max(1024, this.#held.size * 2);
  }
}

const toInfo = (held: Held, now: number): LeaseInfo => ({
  name: held.name,
  owner: held.owner,
  token: held.token,
  remainingMs: held.expiresAt - now,
  metadata: JSON.parse(held.metadataText) as Json,
});
