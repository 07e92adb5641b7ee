import type { Abortable, Random } from "@holdfast/kernel";
import { draftTasks, type TaskDraft } from "../../queue/task-draft.ts";
import { TaskIds } from "../../queue/task-ids.ts";
import type { NewTask } from "../../queue/task-queue.ts";
import { type PackedPayloads, packPayloads } from "./payload-pieces.ts";
import type { QueueScripts } from "./queue-scripts.ts";
import type { RedisTransaction } from "./redis-client.ts";
import { encodeTask, isKeyed } from "./task-codec.ts";

/** Puts tasks into one queue, in one script. */
export class TaskIntake {
  readonly #scripts: QueueScripts;
  readonly #ids: TaskIds;
  readonly #payloadMaxBytes: number;

  constructor(scripts: QueueScripts, random: Random, payloadMaxBytes: number) {
    this.#scripts = scripts;
    this.#ids = new TaskIds(random);
    this.#payloadMaxBytes = payloadMaxBytes;
  }

  /** The arguments of tasks for a script that adds them. @throws InvalidInputError, PayloadTooLargeError */
  encode(tasks: readonly NewTask[]): readonly string[] {
    return draftTasks(tasks, this.#payloadMaxBytes).flatMap((draft) => this.#encode(draft));
  }

  async enqueue(tasks: readonly NewTask[], options: Abortable): Promise<readonly string[]> {
    const drafts = draftTasks(tasks, this.#payloadMaxBytes);
    const first = drafts[0];
    if (first === undefined) {
      options.signal?.throwIfAborted();
      return [];
    }
    // Ids that the caller chose make the call repeatable: what was added is then found there.
    const isRepeatable = drafts.every(({ id }) => id !== undefined);
    if (!areAlike(drafts, first)) {
      return this.#scripts.run(
        "enqueue-tasks",
        drafts.flatMap((draft) => this.#encode(draft)),
        options,
        isRepeatable,
      );
    }
    const areChosen = drafts.some(({ id }) => id !== undefined);
    const ids = drafts.map(({ id }) => id ?? this.#ids.next());
    // One whose id was chosen may be there already, with another payload.
    const packed = areChosen || !this.#scripts.hasTransactions ? undefined : packPayloads(drafts, ids);
    const args = [
      `${first.priorityRank}:${first.type}`,
      `${Math.round(first.delayMs * 1000)}`,
      areChosen ? "1" : "0",
      encodeTask({ ...first, payloadText: "" }),
    ];
    for (const [index, { payloadText }] of drafts.entries()) {
      args.push(ids[index] as string, packed?.stored[index] ?? payloadText);
    }
    if (packed === undefined) await this.#scripts.run("enqueue-alike-tasks", args, options, isRepeatable);
    else await this.#scripts.runAfter(this.#put(packed), "enqueue-alike-tasks", args, options);
    return ids;
  }

  #put({ pieces }: PackedPayloads): RedisTransaction["commands"] {
    return [
      ["MSET", ...pieces.flatMap(({ ref, content }) => [this.#scripts.keyOf(`d:${ref}`), content])],
      ["HSET", this.#scripts.keyOf("n"), ...pieces.flatMap(({ ref, count }) => [ref, `${count}`])],
    ];
  }

  #encode(draft: TaskDraft): readonly string[] {
    return [
      draft.id ?? this.#ids.next(),
      encodeTask(draft),
      `${Math.round(draft.delayMs * 1000)}`,
      `${Math.ceil(draft.dedupeWindowMs)}`,
      draft.after.length === 0 ? "" : JSON.stringify(draft.after),
      draft.afterAnyEnd ? "1" : "0",
    ];
  }
}

/** Everything but id and payload is the same, and nothing is out of the ordinary. */
const areAlike = (drafts: readonly TaskDraft[], first: TaskDraft): boolean =>
  !isKeyed(first) &&
  drafts.every(
    (draft) =>
      !isKeyed(draft) &&
      draft.after.length === 0 &&
      draft.type === first.type &&
      draft.priorityRank === first.priorityRank &&
      draft.delayMs === first.delayMs &&
      draft.maxAttempts === first.maxAttempts &&
      draft.backoff === first.backoff &&
      draft.timeoutMs === first.timeoutMs &&
      draft.keepCompleted === first.keepCompleted,
  );
