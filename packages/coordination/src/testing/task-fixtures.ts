import type { ClaimedTask, NewTask, TaskPriority, TaskQueue } from "../queue/task-queue.ts";

export const task = (id: string, more: Partial<NewTask> = {}): NewTask => ({
  id,
  type: "work",
  payload: id,
  ...more,
});

export const claim = <Tx>(
  queue: TaskQueue<Tx>,
  maxCount = 100,
  more: {
    worker?: string;
    leaseMs?: number;
    types?: readonly string[];
    priorities?: readonly TaskPriority[];
  } = {},
): Promise<readonly ClaimedTask[]> => queue.claim({ worker: "w1", leaseMs: 10_000, ...more, maxCount });

export const claimOne = async <Tx>(queue: TaskQueue<Tx>): Promise<ClaimedTask> => {
  const [claimed] = await claim(queue, 1);
  if (claimed === undefined) throw new Error("no task was due");
  return claimed;
};

export const idsOf = (tasks: readonly { readonly id: string }[]): readonly string[] =>
  tasks.map(({ id }) => id);
