import { type HoldfastError, hasCode, isHoldfastError, type Random, randomInt } from "@holdfast/kernel";
import { type ClusterDatabase, type ClusterSession, PositionLostError } from "../../src/index.ts";

/** What is wrong with the history, in the words of who was promised otherwise. */
export interface Violation {
  readonly kind:
    | "acknowledged write lost"
    | "refused write kept"
    | "read went backwards"
    | "read missed own write";
  readonly detail: string;
}

export interface LedgerCounts {
  readonly acknowledged: number;
  readonly unknown: number;
  /** Unknown writes that turned out to be there. */
  unknownKept: number;
  readonly refused: number;
  readonly reads: number;
  /** Sessions that were told that a failover lost what they had seen. */
  readonly positionsLost: number;
  /** Errors by code. */
  readonly errors: Readonly<Record<string, number>>;
}

interface Write {
  readonly seq: number;
  outcome: "acknowledged" | "unknown" | "refused";
}

const UNKNOWN_CODES = ["KERNEL_OUTCOME_UNKNOWN", "SQL_REPLICATION_UNCONFIRMED"];

/**
 * Workers that each write numbered rows through a session of their own and read them back from wherever the session
 * sends them. Everything that was promised is written down and compared with the table at the end.
 */
export class Ledger {
  readonly violations: Violation[] = [];
  /** Performance time of each acknowledged write. */
  readonly acknowledgedAt: number[] = [];
  readonly #database: ClusterDatabase;
  readonly #random: Random;
  readonly #writes: Write[][] = [];
  readonly #errors = new Map<string, number>();
  readonly #stop = new AbortController();
  #running: Promise<unknown> = Promise.resolve();
  #reads = 0;
  #positionsLost = 0;

  constructor(database: ClusterDatabase, random: Random) {
    this.#database = database;
    this.#random = random;
  }

  async start(workerCount: number): Promise<void> {
    await this.#database.query("CREATE TABLE ledger (worker int, seq int, PRIMARY KEY (worker, seq))");
    this.#running = Promise.all(Array.from({ length: workerCount }, (_, worker) => this.#work(worker)));
  }

  /** Errors so far, of writes and reads. */
  get errorCount(): number {
    return [...this.#errors.values()].reduce((sum, count) => sum + count, 0);
  }

  /** The longest time without an acknowledged write that ended after `since`. */
  longestGapMs(since: number): number {
    let longest = 0;
    for (let index = 1; index < this.acknowledgedAt.length; index += 1) {
      const at = this.acknowledgedAt[index] as number;
      if (at > since) longest = Math.max(longest, at - (this.acknowledgedAt[index - 1] as number));
    }
    return longest;
  }

  /** Ends the load and compares the table with what was promised. */
  async finish(): Promise<LedgerCounts> {
    this.#stop.abort();
    await this.#running;
    const rows = await this.#database.query<{ worker: number; seq: number }>(
      "SELECT worker, seq FROM ledger",
      [],
    );
    const kept = new Set(rows.map(({ worker, seq }) => `${worker}/${seq}`));
    const counts = { acknowledged: 0, unknown: 0, refused: 0 };
    let unknownKept = 0;
    for (const [worker, writes] of this.#writes.entries()) {
      for (const { seq, outcome } of writes) {
        counts[outcome] += 1;
        const isKept = kept.has(`${worker}/${seq}`);
        if (outcome === "unknown" && isKept) unknownKept += 1;
        if (outcome === "acknowledged" && !isKept)
          this.#violated("acknowledged write lost", `${worker}/${seq}`);
        if (outcome === "refused" && isKept) this.#violated("refused write kept", `${worker}/${seq}`);
      }
    }
    return {
      ...counts,
      unknownKept,
      reads: this.#reads,
      positionsLost: this.#positionsLost,
      errors: Object.fromEntries(this.#errors),
    };
  }

  async #work(worker: number): Promise<void> {
    const writes: Write[] = [];
    this.#writes[worker] = writes;
    let session = this.#database.session();
    let seen = 0;
    for (let seq = 1; !this.#stop.signal.aborted; seq += 1) {
      const write: Write = { seq, outcome: "acknowledged" };
      try {
        await session.execute("INSERT INTO ledger (worker, seq) VALUES ($1, $2)", [worker, seq]);
        this.acknowledgedAt.push(performance.now());
        writes.push(write);
        if (randomInt(this.#random, 2) === 0) seen = await this.#read(session, worker, seen);
      } catch (error) {
        if (!writes.includes(write)) {
          write.outcome = UNKNOWN_CODES.some((code) => hasCode(error, code)) ? "unknown" : "refused";
          writes.push(write);
        }
        this.#note(error);
        if (error instanceof PositionLostError) {
          this.#positionsLost += 1;
          session = this.#database.session();
          seen = 0;
        }
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      // A load, not a storm: the servers have to fail over beside it.
      await new Promise((resolve) => setTimeout(resolve, 2 + randomInt(this.#random, 8)));
    }
  }

  async #read(session: ClusterSession, worker: number, seen: number): Promise<number> {
    const acknowledged = (this.#writes[worker] as Write[]).filter(
      ({ outcome }) => outcome === "acknowledged",
    ).length;
    const [row] = await session.read<{ count: number }>(
      "SELECT count(*)::int AS count FROM ledger WHERE worker = $1",
      [worker],
    );
    const count = row?.count ?? 0;
    this.#reads += 1;
    if (count < acknowledged)
      this.#violated("read missed own write", `worker ${worker}: ${count} < ${acknowledged}`);
    if (count < seen) this.#violated("read went backwards", `worker ${worker}: ${count} after ${seen}`);
    return count;
  }

  #violated(kind: Violation["kind"], detail: string): void {
    this.violations.push({ kind, detail });
  }

  #note(error: unknown): void {
    const code = isHoldfastError(error) ? (error as HoldfastError).code : String(error);
    this.#errors.set(code, (this.#errors.get(code) ?? 0) + 1);
  }
}
