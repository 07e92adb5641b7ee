import { jobStream } from "../model/job-stream.ts";
import type { JobStore, PurgedJob } from "../model/job-table.ts";
import { TERMINAL_STATUSES } from "../model/job-table.ts";
import { SHARD_QUEUE, shardGroup } from "../model/shard-task.ts";
import type { RetentionOptions } from "../node/option-checks.ts";

/** Jobs deleted in one transaction, each with up to ten thousand tasks. */
const BATCH_MAX_COUNT = 20;

/**
 * Deletes ended jobs that are too old or too many, each with its log and its tasks in one transaction.
 * Returns the ids of those that went.
 * @throws what the store throws; what was deleted stays deleted.
 */
export const purgeEnded = async (
  store: JobStore,
  retention: Required<RetentionOptions>,
  signal: AbortSignal,
): Promise<readonly string[]> => {
  const gone: string[] = [];
  for (;;) {
    signal.throwIfAborted();
    const purged = await purgeSome(store, { olderThanMs: retention.keepMs, limit: BATCH_MAX_COUNT });
    gone.push(...purged.map(({ jobId }) => jobId));
    if (purged.length < BATCH_MAX_COUNT) break;
  }
  const counts = await store.jobs.counts({ signal });
  let tooMany =
    TERMINAL_STATUSES.reduce((sum, status) => sum + (counts[status] ?? 0), 0) - retention.keepMaxCount;
  while (tooMany > 0) {
    signal.throwIfAborted();
    const limit = Math.min(tooMany, BATCH_MAX_COUNT);
    const purged = await purgeSome(store, { olderThanMs: 0, limit });
    gone.push(...purged.map(({ jobId }) => jobId));
    if (purged.length === 0) break;
    tooMany -= purged.length;
  }
  return gone;
};

const purgeSome = (
  store: JobStore,
  options: { readonly olderThanMs: number; readonly limit: number },
): Promise<readonly PurgedJob[]> =>
  store.coordination.transaction(async (tx) => {
    const purged = await store.jobs.purge(options, tx);
    if (purged.length === 0) return purged;
    await store.coordination.log.delete(
      purged.map(({ jobId }) => jobStream(jobId)),
      { tx },
    );
    const groups = purged.flatMap(({ jobId, workflowIds }) => workflowIds.map((id) => shardGroup(jobId, id)));
    await store.coordination.queue(SHARD_QUEUE).deleteGroups(groups, { tx });
    return purged;
  });
