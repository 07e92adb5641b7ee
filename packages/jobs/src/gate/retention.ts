import type { Logger } from "@holdfast/kernel";
import { jobStream } from "../model/job-stream.ts";
import { type JobStore, TERMINAL_STATUSES } from "../model/job-table.ts";
import type { EventFeed } from "../node/event-feed.ts";
import type { GateSettings } from "./gate-options.ts";
import type { JobBook } from "./job-book.ts";
import type { ReportDeliveries } from "./report-deliveries.ts";

export interface RetentionParts {
  readonly store: JobStore;
  readonly settings: GateSettings;
  readonly logger: Logger;
  readonly feed: EventFeed;
  readonly book: JobBook;
  readonly reports: ReportDeliveries;
}

/** Jobs deleted in one transaction. */
const PURGE_COUNT = 200;

/** Deletes finished jobs that are too old or too many, with their logs. One gate, the leader of the gates, does it. */
export class Retention {
  readonly #parts: RetentionParts;

  constructor(parts: RetentionParts) {
    this.#parts = parts;
  }

  async run(signal: AbortSignal, options: { readonly isLeader: () => boolean }): Promise<void> {
    const { settings, logger } = this.#parts;
    for (;;) {
      await settings.clock.sleep(settings.retention.sweepEveryMs, { signal });
      if (!options.isLeader()) continue;
      try {
        await this.#purge({
          olderThanMs: settings.retention.keepMs,
          maxCount: Number.MAX_SAFE_INTEGER,
          signal,
        });
        const excess = (await this.#finishedCount(signal)) - settings.retention.keepMaxCount;
        await this.#purge({ olderThanMs: 0, maxCount: excess, signal });
      } catch (error) {
        signal.throwIfAborted();
        logger.warn({ err: error }, "old jobs could not be deleted; the next sweep tries again");
      }
    }
  }

  async #finishedCount(signal: AbortSignal): Promise<number> {
    const counts = await this.#parts.store.jobs.counts({ signal });
    return TERMINAL_STATUSES.reduce((sum, status) => sum + (counts[status] ?? 0), 0);
  }

  async #purge(options: {
    readonly olderThanMs: number;
    readonly maxCount: number;
    readonly signal: AbortSignal;
  }): Promise<void> {
    const { store, feed, book, reports } = this.#parts;
    let left = options.maxCount;
    while (left > 0) {
      options.signal.throwIfAborted();
      const limit = Math.min(PURGE_COUNT, left);
      const purged = await store.coordination.transaction(async (tx) => {
        const jobs = await store.jobs.purge({ olderThanMs: options.olderThanMs, limit }, tx);
        const streams = jobs.map(({ jobId }) => jobStream(jobId));
        if (streams.length > 0) await store.coordination.log.delete(streams, { tx });
        await reports.forget(
          jobs.map(({ jobId }) => jobId),
          tx,
        );
        return jobs;
      });
      for (const { jobId } of purged) {
        book.finished.delete(jobId);
        feed.forget(jobId);
      }
      left -= purged.length;
      if (purged.length < limit) return;
    }
  }
}
