import type { JobsClient, WatchItem } from "@holdfast/jobs/client";
import { type Clock, toWireError } from "@holdfast/kernel";
import type { JobResult } from "@holdfast/protocol/contract";
import type { PostgresServer } from "@holdfast/testkit";

/** A node that was disturbed, and when. */
export interface Disturbance {
  readonly nodeId: string;
  readonly kind: "kill" | "freeze" | "cut";
  /** Its whole datacenter with it: nobody was there to take over until it came back. */
  readonly isWhole: boolean;
  /** On the monotonic clock. */
  readonly at: number;
}

interface Leadership {
  readonly nodeId: string;
  readonly fence: bigint;
}

/** Everything that is known of one accepted job. */
interface Entry {
  readonly jobId: string;
  readonly isCancelled: boolean;
  result: JobResult | undefined;
  resultCount: number;
  lastOffset: bigint;
  eventCount: number;
  readonly leaders: Map<string, Leadership>;
  failure: string | undefined;
}

/** How long somebody else took to lead a job after its leader was disturbed. */
export interface TakeOver {
  readonly role: "gate" | "manager";
  readonly kind: Disturbance["kind"];
  readonly isWhole: boolean;
  readonly ms: number;
}

/** A time without an event of a running job. */
export interface Silence {
  readonly jobId: string;
  readonly ms: number;
  /** The item that ended it. */
  readonly endedBy: string;
  /** The nodes that led the job when it ended, by role and datacenter. */
  readonly leaders: Readonly<Record<string, string>>;
  /** Nodes disturbed during it or up to ten seconds before. */
  readonly disturbed: readonly string[];
}

const SILENCES_KEPT_COUNT = 10;
const DISTURBED_BEFORE_MS = 10_000;

/** What the client saw of every job, held against what was promised. */
export class JobsLedger {
  readonly violations: string[] = [];
  readonly takeOvers: TakeOver[] = [];
  readonly #entries = new Map<string, Entry>();
  readonly #watches = new Set<Promise<void>>();
  readonly #client: JobsClient;
  readonly #clock: Clock;
  #disturbances: Disturbance[] = [];
  #silences: Silence[] = [];

  constructor(client: JobsClient, clock: Clock) {
    this.#client = client;
    this.#clock = clock;
  }

  get acceptedCount(): number {
    return this.#entries.size;
  }

  get endedCount(): number {
    return [...this.#entries.values()].filter(({ result }) => result !== undefined).length;
  }

  get eventCount(): number {
    return [...this.#entries.values()].reduce((sum, { eventCount }) => sum + eventCount, 0);
  }

  /** The longest times between two events of a running job, longest first. */
  get longestSilences(): readonly Silence[] {
    return this.#silences;
  }

  countsByStatus(): Readonly<Record<string, number>> {
    const counts: Record<string, number> = {};
    for (const { result } of this.#entries.values()) {
      const status = result?.status ?? "unfinished";
      counts[status] = (counts[status] ?? 0) + 1;
    }
    return counts;
  }

  disturbed(disturbance: Disturbance): void {
    this.#disturbances = [...this.#disturbances.slice(-100), disturbance];
  }

  /** Follows a job from its beginning to its end. */
  accepted(jobId: string, options: { readonly isCancelled: boolean; readonly signal: AbortSignal }): void {
    const entry: Entry = {
      jobId,
      isCancelled: options.isCancelled,
      result: undefined,
      resultCount: 0,
      lastOffset: 0n,
      eventCount: 0,
      leaders: new Map(),
      failure: undefined,
    };
    this.#entries.set(jobId, entry);
    const watch = this.#watch(entry, options.signal)
      .catch((error: unknown) => {
        entry.failure = toWireError(error).message;
      })
      .finally(() => this.#watches.delete(watch));
    this.#watches.add(watch);
  }

  /** Until every watch has ended. */
  async settled(): Promise<void> {
    while (this.#watches.size > 0) await Promise.all([...this.#watches]);
  }

  async #watch(entry: Entry, signal: AbortSignal): Promise<void> {
    let lastAt = this.#clock.monotonicNow();
    for await (const item of this.#client.watch(entry.jobId, { signal })) {
      const now = this.#clock.monotonicNow();
      if (item.kind !== "connection") {
        this.#noteSilence(entry, { from: lastAt, to: now }, item);
        lastAt = now;
      }
      this.#take(entry, item, now);
    }
  }

  #noteSilence(entry: Entry, time: { readonly from: number; readonly to: number }, item: WatchItem): void {
    const ms = Math.round(time.to - time.from);
    const least = this.#silences[SILENCES_KEPT_COUNT - 1];
    if (least !== undefined && ms <= least.ms) return;
    const disturbed = this.#disturbances
      .filter(({ at }) => at >= time.from - DISTURBED_BEFORE_MS && at <= time.to)
      .map(({ nodeId, kind, at }) => `${nodeId} ${kind} at ${Math.round(at - time.from)} ms`);
    const leaders = Object.fromEntries(
      [...entry.leaders].map(([place, { nodeId }]) => [place.trim(), nodeId]),
    );
    const endedBy = item.kind === "event" ? item.event.type : item.kind;
    this.#silences.push({ jobId: entry.jobId, ms, endedBy, leaders, disturbed });
    this.#silences = this.#silences.toSorted((a, b) => b.ms - a.ms).slice(0, SILENCES_KEPT_COUNT);
  }

  #take(entry: Entry, item: WatchItem, now: number): void {
    if (item.kind === "reset") this.#violated(entry, `its watch was reset (${item.reason})`);
    if (item.kind !== "event") return;
    const offset = BigInt(item.position.offset);
    if (offset !== entry.lastOffset + 1n) {
      this.#violated(entry, `event ${offset} came after event ${entry.lastOffset}`);
    }
    entry.lastOffset = offset;
    entry.eventCount += 1;
    const { event } = item;
    if (entry.result !== undefined) this.#violated(entry, `a ${event.type} came after the result`);
    if (event.type === "job.leader") {
      const place = `${event.role} ${event.datacenter ?? ""}`;
      const before = entry.leaders.get(place);
      const fence = BigInt(event.leader.fence);
      if (before !== undefined && fence <= before.fence) {
        this.#violated(entry, `${place} leads with fence ${fence} after ${before.fence}`);
      }
      if (before !== undefined && before.nodeId !== event.leader.nodeId) {
        const cause = this.#disturbances.findLast(({ nodeId }) => nodeId === before.nodeId);
        if (cause !== undefined) {
          this.takeOvers.push({
            role: event.role,
            kind: cause.kind,
            isWhole: cause.isWhole,
            ms: now - cause.at,
          });
        }
      }
      entry.leaders.set(place, { nodeId: event.leader.nodeId, fence });
    }
    if (event.type === "job.result" && event.datacenter === undefined) {
      entry.resultCount += 1;
      entry.result = event.result;
      if (
        event.result.status !== "completed" &&
        !(entry.isCancelled && event.result.status === "cancelled")
      ) {
        this.#violated(entry, `it ended ${event.result.status}: ${event.result.errors.join("; ")}`);
      }
    }
  }

  /** Holds what the databases say against what was told. Call when everything has settled. */
  async check(databases: ReadonlyMap<string, PostgresServer>): Promise<{ readonly rowCount: number }> {
    let rowCount = 0;
    const counts = new Map<string, number>();
    for (const [datacenter, server] of databases) {
      // One document each: what a program prints is kept for a number of lines only.
      const ask = async <T>(query: string): Promise<T> =>
        JSON.parse(await server.sql(`select coalesce(json_agg(t), '[]')::jsonb from (${query}) t`)) as T;
      const doubled = await ask<{ job_id: string; shard: number; step: number; count: number }[]>(
        "select job_id, shard, step, count(*) from soak_effects group by 1, 2, 3 having count(*) > 1",
      );
      for (const { job_id: jobId, shard, step, count } of doubled) {
        this.violations.push(`${jobId}: shard ${shard} left step ${step} ${count} times in ${datacenter}`);
      }
      const rows = await ask<{ job_id: string; count: number }[]>(
        "select job_id, count(*) from soak_effects group by 1",
      );
      for (const { job_id: jobId, count } of rows) {
        rowCount += count;
        counts.set(`${jobId} ${datacenter}`, count);
      }
    }
    for (const entry of this.#entries.values()) {
      if (entry.result === undefined) {
        this.#violated(entry, `it never ended for the client (${entry.failure ?? "no reason"})`);
      } else if (entry.result.status === "completed") {
        for (const workflow of entry.result.workflows) {
          for (const datacenter of Object.keys(entry.result.datacenters)) {
            const rows = counts.get(`${entry.jobId} ${datacenter}`) ?? 0;
            const part = workflow.datacenters?.[datacenter] ?? workflow;
            if (rows !== 2 * part.shards.total) {
              this.#violated(entry, `${part.shards.total} shards left ${rows} rows in ${datacenter}`);
            }
          }
        }
      }
    }
    return { rowCount };
  }

  #violated(entry: Entry, what: string): void {
    this.violations.push(`${entry.jobId}: ${what}`);
  }
}
