import type { Abortable } from "@holdfast/kernel";
import { LeaseLostError, StoreConflictError } from "../../errors.ts";
import { checkBatch } from "../../input-checks.ts";
import type { Json } from "../../json.ts";
import {
  checkGrant,
  checkLeaseName,
  checkLimit,
  checkTtl,
  LIST_LIMIT_DEFAULT,
} from "../../lease/grant-checks.ts";
import type { GrantOptions, GrantOutcome, LeaseInfo, Leases } from "../../lease/leases.ts";
import { encodeWakeUp, type Notifier } from "../../notifier.ts";
import { leaseKey, releaseKeys } from "../../wake-ups.ts";
import { arrayLiteral } from "./array-literal.ts";
import type { SqlExecutor } from "./sql-client.ts";
import type { StatementRunner } from "./statement-runner.ts";

interface LeaseRef {
  readonly name: string;
  readonly token: bigint;
}

interface LeaseRow {
  readonly name: string;
  readonly owner: string;
  readonly token: string;
  readonly metadata: string;
  readonly remaining_ms: number;
}

/** Each lost race means that another asker was granted, so more than a few in a row is no race any more. */
const GRANT_TRIES = 5;

export class PostgresLeases implements Leases<SqlExecutor> {
  readonly #statements: StatementRunner;
  readonly #notifier: Notifier;

  constructor(statements: StatementRunner, notifier: Notifier) {
    this.#statements = statements;
    this.#notifier = notifier;
  }

  async grant(name: string, options: GrantOptions): Promise<GrantOutcome> {
    const metadata = checkGrant(name, options);
    const { owner, ttlMs, requestId, signal } = options;
    for (let tries = 0; tries < GRANT_TRIES; tries += 1) {
      const [row] = await this.#statements.run<LeaseRow & { readonly granted: boolean }>(
        "grant-lease",
        [name, owner, ttlMs, requestId ?? null, metadata, options.awaitRelease ?? false],
        { signal },
        { isRepeatable: requestId !== undefined },
      );
      if (row === undefined) continue;
      if (row.granted) return { kind: "granted", grant: { name, owner, token: BigInt(row.token), ttlMs } };
      return { kind: "held", holder: toInfo({ ...row, name }) };
    }
    throw new StoreConflictError(`grant of ${name}`);
  }

  async renew(
    leases: readonly LeaseRef[],
    options: Abortable & { readonly ttlMs: number },
  ): Promise<readonly boolean[]> {
    checkBatch("leases", leases);
    checkTtl("lease.ttlMs", options.ttlMs);
    if (leases.length === 0) return [];
    const rows = await this.#statements.run<{ readonly name: string; readonly token: string }>(
      "renew-leases",
      [
        arrayLiteral(leases.map(({ name }) => name)),
        arrayLiteral(leases.map(({ token }) => token)),
        options.ttlMs,
      ],
      { signal: options.signal },
      { isRepeatable: true },
    );
    const renewed = new Map(rows.map(({ name, token }) => [name, BigInt(token)]));
    return leases.map(({ name, token }) => renewed.get(name) === token);
  }

  async release(lease: LeaseRef, options: Abortable = {}): Promise<boolean> {
    const notice = encodeWakeUp(releaseKeys(lease.name));
    const rows = await this.#statements.run(
      "release-lease",
      [lease.name, lease.token.toString(), notice],
      options,
    );
    return rows.length > 0;
  }

  onReleased(name: string, listener: () => void): () => void {
    return this.#notifier.subscribe(leaseKey(name), listener);
  }

  async read(name: string, options: Abortable = {}): Promise<LeaseInfo | undefined> {
    checkLeaseName(name);
    const [row] = await this.#statements.run<LeaseRow>("read-lease", [name], options);
    return row === undefined ? undefined : toInfo(row);
  }

  async list(
    prefix: string,
    options: Abortable & { readonly limit?: number; readonly awaitRelease?: boolean } = {},
  ): Promise<readonly LeaseInfo[]> {
    const limit = checkLimit(options.limit, LIST_LIMIT_DEFAULT);
    const rows = await this.#statements.run<LeaseRow>(
      options.awaitRelease ? "await-leases" : "list-leases",
      [prefix, limit],
      { signal: options.signal },
      { isRepeatable: true },
    );
    return rows.map(toInfo);
  }

  async assertFence(lease: LeaseRef, tx: SqlExecutor): Promise<void> {
    const rows = await this.#statements.run("assert-fence", [lease.name, lease.token.toString()], { tx });
    if (rows.length === 0) throw new LeaseLostError(lease.name, lease.token);
  }

  async nextToken(tx: SqlExecutor): Promise<bigint> {
    const [row] = await this.#statements.run<{ readonly token: string }>("next-token", [], { tx });
    return BigInt(row?.token ?? 0);
  }

  async revokeAll(options: Abortable = {}): Promise<number> {
    const [row] = await this.#statements.run<{ readonly count: number }>("revoke-leases", [], options, {
      isRepeatable: true,
    });
    return Number(row?.count ?? 0);
  }
}

const toInfo = (row: LeaseRow): LeaseInfo => ({
  name: row.name,
  owner: row.owner,
  token: BigInt(row.token),
  remainingMs: Math.max(0, Number(row.remaining_ms)),
  metadata: JSON.parse(row.metadata) as Json,
});
