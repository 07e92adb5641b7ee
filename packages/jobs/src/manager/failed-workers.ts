import type { ClaimedTask, TaskQueue, TaskRecord } from "@holdfast/coordination";
import { keepNewest, type Logger } from "@holdfast/kernel";

export interface FailedWorkersOptions {
  readonly queue: Pick<TaskQueue<unknown>, "get">;
  readonly logger: Logger;
}

/** Shards remembered; the one that failed longest ago is forgotten first, and asked of the store then. */
const REMEMBERED_MAX_COUNT = 10_000;
/** Shards whose history is read for one claim; of more than that the rest goes to anybody. */
const READS_MAX_COUNT = 50;

/**
 * Which workers failed which shard, so that its next attempt goes to another where there is a choice. What this
 * manager did not take in itself it reads from the shard's history. It is a wish, not a promise: a claim that lapsed
 * at another manager may name no worker, and a history that cannot be read counts as none.
 */
export class FailedWorkers {
  readonly #options: FailedWorkersOptions;
  readonly #byTask = new Map<string, Set<string>>();

  constructor(options: FailedWorkersOptions) {
    this.#options = options;
  }

  /** An attempt of the shard failed there, or its claim lapsed. */
  note(taskId: string, worker: string): void {
    const workers = this.#byTask.get(taskId) ?? new Set();
    workers.add(worker);
    this.#byTask.delete(taskId);
    this.#byTask.set(taskId, workers);
    keepNewest(this.#byTask, REMEMBERED_MAX_COUNT);
  }

  /** By task id, for those of the tasks that are not tried for the first time. Never throws. */
  async of(tasks: readonly ClaimedTask[]): Promise<ReadonlyMap<string, ReadonlySet<string>>> {
    const found = new Map<string, ReadonlySet<string>>();
    const unknown: string[] = [];
    for (const { id, attempt } of tasks) {
      if (attempt === 1) continue;
      const workers = this.#byTask.get(id);
      if (workers !== undefined) found.set(id, workers);
      else if (unknown.length < READS_MAX_COUNT) unknown.push(id);
    }
    await Promise.all(
      unknown.map(async (id) => {
        try {
          const record = await this.#options.queue.get(id);
          if (record !== undefined) found.set(id, new Set(record.failures.map(workerOf)));
        } catch (error) {
          this.#options.logger.debug({ err: error, taskId: id }, "the history of a shard could not be read");
        }
      }),
    );
    return found;
  }
}

/** Several workers' claims are made under the manager's name: the error says who it was. */
const workerOf = ({ worker, error }: TaskRecord["failures"][number]): string => {
  const named =
    typeof error === "object" && error !== null && "worker" in error ? error["worker"] : undefined;
  return typeof named === "string" ? named : worker;
};
