import type { JobEvent } from "@holdfast/protocol/contract";

/** What a caller counts. Every count but those that say "now" only grows. */
export interface CallerCounts {
  /** Calls that were made; each takes one attempt or more. */
  readonly requests: number;
  /** Attempts that got no answer, or a refusal. */
  readonly failedAttempts: number;
  /** Requests that a refusal sent on to the leader. */
  readonly redirects: number;
  /** Refusals of nodes that do not lead which led nowhere: they named nobody, or went in a circle. */
  readonly failedRedirects: number;
  /** Connections that ended without our doing. */
  readonly lostConnections: number;
  /** Jobs that are followed now, each as often as it is followed. */
  readonly watches: number;
  /** Of these, those that have no node now and look for one. */
  readonly orphanedWatches: number;
  /** Events that watches brought. */
  readonly events: number;
  /** Of these, those that told of another gate leading the job. */
  readonly gateTransfers: number;
  /** Of these, those that told of another manager leading a datacenter's part. */
  readonly managerTransfers: number;
}

type Counter = keyof CallerCounts;

/** The counters of one caller. */
export class CallerCounters {
  readonly #counts: Record<Counter, number> = {
    requests: 0,
    failedAttempts: 0,
    redirects: 0,
    failedRedirects: 0,
    lostConnections: 0,
    watches: 0,
    orphanedWatches: 0,
    events: 0,
    gateTransfers: 0,
    managerTransfers: 0,
  };

  add(counter: Counter, by = 1): void {
    this.#counts[counter] += by;
  }

  /** Counts an event of a watch, and what it tells of leaders. A job's first leader is no transfer. */
  addEvent(event: JobEvent): void {
    this.#counts.events += 1;
    if (event.type !== "job.leader" || event.previous === undefined) return;
    this.#counts[event.role === "gate" ? "gateTransfers" : "managerTransfers"] += 1;
  }

  /** The counts as they are now. */
  get counts(): CallerCounts {
    return { ...this.#counts };
  }
}
