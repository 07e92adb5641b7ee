import type { Abortable } from "@holdfast/kernel";
import type { Log, LogTailItem } from "../log/log.ts";
import type { Position } from "../position.ts";
import type { CoordinationStore } from "../store.ts";
import type { ClaimedTask, TaskQueue, TaskRef } from "./task-queue.ts";

/** What happened to tasks of a queue, as its log tells it. What concerns very many tasks is told in several events. */
export type QueueEvent =
  | { readonly kind: "enqueued"; readonly ids: readonly string[] }
  | { readonly kind: "claimed"; readonly worker: string; readonly ids: readonly string[] }
  | { readonly kind: "completed"; readonly ids: readonly string[] }
  | { readonly kind: "retrying" | "dead"; readonly id: string; readonly attempt: number }
  | { readonly kind: "lapsed"; readonly id: string; readonly attempt: number; readonly worker: string }
  | { readonly kind: "cancelled" | "deleted"; readonly groups: readonly string[] }
  | { readonly kind: "requeued"; readonly ids: readonly string[] }
  | { readonly kind: "paused" | "resumed" };

/** The stream that a queue's events are told in. */
export const queueEventStream = (queue: string): string => `queue-events/${queue}`;

/** Ids or groups that one event tells of at most: an entry of the log is bounded, a call's tasks are many more. */
const NAMES_MAX_COUNT = 500;

const inPieces = (
  names: readonly string[],
  toEvent: (names: readonly string[]) => QueueEvent,
): readonly QueueEvent[] =>
  Array.from({ length: Math.ceil(names.length / NAMES_MAX_COUNT) }, (_, index) =>
    toEvent(names.slice(index * NAMES_MAX_COUNT, (index + 1) * NAMES_MAX_COUNT)),
  );

type Recorded = "enqueue" | "claim" | "complete" | "fail" | "cancelGroups" | "deleteGroups" | "recoverLapsed";

/**
 * A queue that tells in the store's log what is done through it, for whoever follows with {@link followQueueEvents}.
 * A queue that nobody records costs nothing for it.
 *
 * Where the store has transactions, an event is told if and only if what it tells of was committed. `requeueDead`,
 * `pause` and `resume` are told of right after. The log grows until it is trimmed.
 */
export const recordEvents = <Tx>(
  store: Pick<CoordinationStore<Tx>, "log" | "transaction">,
  queue: TaskQueue<Tx>,
): TaskQueue<Tx> => {
  const stream = queueEventStream(queue.name);
  const tell = async (events: readonly QueueEvent[], tx?: Tx): Promise<void> => {
    if (events.length === 0) return;
    await store.log.append(
      events.map((payload) => ({ stream, payload: payload as never })),
      tx === undefined ? {} : { tx },
    );
  };
  const recorded = <Options extends Abortable & { readonly tx?: Tx }, Result>(
    options: Options | undefined,
    step: (options: Options) => Promise<Result>,
    eventsOf: (result: Result) => readonly QueueEvent[],
  ): Promise<Result> => {
    const run = async (tx: Tx): Promise<Result> => {
      const result = await step({ ...options, tx } as Options);
      await tell(eventsOf(result), tx);
      return result;
    };
    return options?.tx === undefined ? store.transaction(run, { signal: options?.signal }) : run(options.tx);
  };
  const own: Pick<TaskQueue<Tx>, Recorded | "requeueDead" | "pause" | "resume"> = {
    enqueue: (tasks, options) =>
      recorded(
        options,
        (within) => queue.enqueue(tasks, within),
        (all) => inPieces(all, (ids) => ({ kind: "enqueued", ids })),
      ),
    claim: (options) =>
      recorded(
        options,
        (within) => queue.claim(within),
        (tasks) => inPieces(idsOf(tasks), (ids) => ({ kind: "claimed", worker: options.worker, ids })),
      ),
    complete: (refs, options) =>
      recorded(
        options,
        (within) => queue.complete(refs, within),
        (outcomes) => {
          const completed = idsOf(refs.filter((_, index) => outcomes[index] === "completed"));
          return inPieces(completed, (ids) => ({ kind: "completed", ids }));
        },
      ),
    fail: (failures, options) =>
      recorded(
        options,
        (within) => queue.fail(failures, within),
        (results) =>
          results.flatMap(({ outcome, attempt }, index) =>
            outcome === "stale" ? [] : [{ kind: outcome, id: (failures[index] as TaskRef).id, attempt }],
          ),
      ),
    cancelGroups: (groups, options) =>
      recorded(
        options,
        (within) => queue.cancelGroups(groups, within),
        (count) => (count === 0 ? [] : inPieces(groups, (some) => ({ kind: "cancelled", groups: some }))),
      ),
    deleteGroups: (groups, options) =>
      recorded(
        options,
        (within) => queue.deleteGroups(groups, within),
        (count) => (count === 0 ? [] : inPieces(groups, (some) => ({ kind: "deleted", groups: some }))),
      ),
    recoverLapsed: (options) =>
      recorded(
        options,
        (within) => queue.recoverLapsed(within),
        (lapsed) => lapsed.map(({ id, attempt, worker }) => ({ kind: "lapsed", id, attempt, worker })),
      ),
    requeueDead: async (ids, options) => {
      const requeued = await queue.requeueDead(ids, options);
      await tell(inPieces(requeued, (some) => ({ kind: "requeued", ids: some })));
      return requeued;
    },
    pause: async (options) => {
      await queue.pause(options);
      await tell([{ kind: "paused" }]);
    },
    resume: async (options) => {
      await queue.resume(options);
      await tell([{ kind: "resumed" }]);
    },
  };
  return new Proxy(queue, {
    get: (target, name) => {
      if (Object.hasOwn(own, name)) return Reflect.get(own, name) as unknown;
      const member = Reflect.get(target, name, target) as unknown;
      return typeof member === "function" ? (member.bind(target) as unknown) : member;
    },
  });
};

const idsOf = (items: readonly Pick<ClaimedTask, "id">[]): readonly string[] => items.map(({ id }) => id);

export type QueueEventItem =
  | { readonly kind: "event"; readonly event: QueueEvent; readonly position: Position; readonly at: number }
  | Extract<LogTailItem, { readonly kind: "reset" }>;

/**
 * A queue's events from a position on, without gap or repeat, until the signal aborts; `reset` where that is not
 * possible because the log was trimmed or deleted.
 */
export async function* followQueueEvents(
  log: Pick<Log<never>, "tail">,
  queue: string,
  options: Abortable & { readonly after?: Position } = {},
): AsyncGenerator<QueueEventItem> {
  for await (const item of log.tail(queueEventStream(queue), options)) {
    if (item.kind === "reset") {
      yield item;
      continue;
    }
    for (const { payload, position, appendedAt } of item.entries) {
      yield { kind: "event", event: payload as unknown as QueueEvent, position, at: appendedAt };
    }
  }
}
