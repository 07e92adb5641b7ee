import { type QueueStats, TASK_PRIORITIES, type TaskState } from "../../queue/task-queue.ts";
import { BinaryHeap } from "./binary-heap.ts";
import { isLive, type Task, type TaskStatus } from "./task.ts";
import type { Change } from "./transactor.ts";

/** A place in a heap. It counts only while the task still has the status it was made for. */
interface Entry {
  readonly task: Task;
  readonly status: TaskStatus;
}

/** What a claim takes from. */
export interface Lanes {
  /** All when undefined. */
  readonly types: readonly string[] | undefined;
  /** Of priority. */
  readonly ranks: readonly number[];
}

const isCurrent = (entry: Entry): boolean => entry.task.status === entry.status;

const runOrder = (a: Entry, b: Entry): boolean =>
  a.status.runAt !== b.status.runAt ? a.status.runAt < b.status.runAt : a.task.seq < b.task.seq;

const lapseOrder = (a: Entry, b: Entry): boolean =>
  a.status.leaseUntil !== b.status.leaseUntil
    ? a.status.leaseUntil < b.status.leaseUntil
    : a.task.seq < b.task.seq;

/**
 * The tasks of one queue by everything that operations ask for: id, group, dedupe key, readiness, lapse.
 *
 * Invariant: every status change goes through `setStatus`, which enters the task where its new status
 * belongs. Heap entries of former statuses stay until they surface or outnumber the live ones.
 */
export class TaskIndex {
  readonly #byId = new Map<string, Task>();
  readonly #byGroup = new Map<string, Set<Task>>();
  readonly #liveByDedupeKey = new Map<string, Task>();
  readonly #finished: Record<"completed" | "cancelled" | "dead", Set<Task>> = {
    completed: new Set(),
    cancelled: new Set(),
    dead: new Set(),
  };
  readonly #counts: Record<TaskState, number> = {
    waiting: 0,
    pending: 0,
    claimed: 0,
    completed: 0,
    dead: 0,
    cancelled: 0,
  };
  #retryingCount = 0;
  readonly #claimedByLimitKey = new Map<string, number>();
  /** Waiting tasks by what they wait for. */
  readonly #dependents = new Map<string, Set<Task>>();
  /** By priority, then by type. */
  readonly #ready: readonly Map<string, BinaryHeap<Entry>>[] = TASK_PRIORITIES.map(() => new Map());
  readonly #delayed = new BinaryHeap<Entry>(runOrder);
  readonly #claimed = new BinaryHeap<Entry>(lapseOrder);

  get(id: string): Task | undefined {
    return this.#byId.get(id);
  }

  liveWithDedupeKey(key: string): Task | undefined {
    return this.#liveByDedupeKey.get(key);
  }

  get claimedCount(): number {
    return this.#counts.claimed;
  }

  claimedCountOf(limitKey: string): number {
    return this.#claimedByLimitKey.get(limitKey) ?? 0;
  }

  waitingFor(id: string): readonly Task[] {
    return [...(this.#dependents.get(id) ?? [])];
  }

  tasks(): Iterable<Task> {
    return this.#byId.values();
  }

  ofGroup(group: string): ReadonlySet<Task> {
    return this.#byGroup.get(group) ?? new Set();
  }

  /** In the order in which they finished. */
  finished(state: "completed" | "cancelled" | "dead"): Iterable<Task> {
    return this.#finished[state];
  }

  add(task: Task, now: number, change: Change): void {
    this.#insert(task, now);
    change.onRollback(() => this.#remove(task));
  }

  delete(task: Task, now: number, change: Change): void {
    this.#remove(task);
    change.onRollback(() => this.#insert(task, now));
  }

  setStatus(task: Task, status: TaskStatus, now: number, change: Change): void {
    const former = task.status;
    this.#replaceStatus(task, status, now);
    // A copy, so that heap entries made for the former status before it left do not count twice.
    change.onRollback(() => this.#replaceStatus(task, { ...former }, now));
  }

  /** Takes the next due task of these lanes off the ready heaps; the caller must change its status. */
  takeReady({ types, ranks }: Lanes, now: number): Task | undefined {
    this.#promoteDue(now);
    for (const rank of ranks) {
      let best: BinaryHeap<Entry> | undefined;
      for (const heap of this.#readyHeaps(rank, types)) {
        while (heap.size > 0 && !isCurrent(heap.peek() as Entry)) heap.pop();
        const top = heap.peek();
        const bestTop = best?.peek();
        if (top !== undefined && (bestTop === undefined || runOrder(top, bestTop))) best = heap;
      }
      if (best !== undefined) return best.pop()?.task;
    }
    return undefined;
  }

  /** Puts back what `takeReady` took, where its status was not changed after all. */
  putBack(task: Task): void {
    this.#pushReady({ task, status: task.status });
  }

  /** Takes the claimed task whose lease lapsed first, if one has; the caller must change its status. */
  takeLapsed(now: number): Task | undefined {
    const top = this.#firstClaimed();
    return top !== undefined && top.status.leaseUntil <= now ? this.#claimed.pop()?.task : undefined;
  }

  /** When the next pending task is due: `now` when one is. */
  nextPendingAt(now: number): number | undefined {
    this.#promoteDue(now);
    for (const heap of this.#allReady()) {
      while (heap.size > 0 && !isCurrent(heap.peek() as Entry)) heap.pop();
      if (heap.size > 0) return now;
    }
    return this.#firstDelayed()?.status.runAt;
  }

  /** When the next lease lapses, or when it has. */
  nextLapseAt(): number | undefined {
    return this.#firstClaimed()?.status.leaseUntil;
  }

  stats(now: number): Omit<QueueStats, "paused"> {
    this.#promoteDue(now);
    let due = 0;
    let oldestRunAt = Number.POSITIVE_INFINITY;
    for (const heap of this.#allReady()) {
      for (const entry of heap.values()) {
        if (!isCurrent(entry)) continue;
        due += 1;
        oldestRunAt = Math.min(oldestRunAt, entry.status.runAt);
      }
    }
    const { waiting, pending, claimed, completed, dead, cancelled } = this.#counts;
    return {
      waiting,
      pending: due,
      delayed: pending - due,
      claimed,
      completed,
      dead,
      cancelled,
      total: waiting + pending + claimed + completed + dead + cancelled,
      oldestDueMs: due === 0 ? undefined : now - oldestRunAt,
      retrying: this.#retryingCount,
    };
  }

  #insert(task: Task, now: number): void {
    this.#byId.set(task.id, task);
    if (task.group !== undefined) {
      const group = this.#byGroup.get(task.group) ?? new Set();
      group.add(task);
      this.#byGroup.set(task.group, group);
    }
    this.#enter(task, now);
  }

  #remove(task: Task): void {
    this.#leave(task);
    this.#byId.delete(task.id);
    if (task.group !== undefined) {
      const group = this.#byGroup.get(task.group);
      group?.delete(task);
      if (group?.size === 0) this.#byGroup.delete(task.group);
    }
    // Its heap entries must not count any more, nor if the same object is put back.
    task.status = { ...task.status };
  }

  #replaceStatus(task: Task, status: TaskStatus, now: number): void {
    this.#leave(task);
    task.status = status;
    this.#enter(task, now);
  }

  #leave(task: Task): void {
    const { state } = task.status;
    this.#counts[state] -= 1;
    if (isLive(state) && task.status.failures.length > 0) this.#retryingCount -= 1;
    if (state === "claimed") this.#countForKey(task, -1);
    if (state === "waiting") {
      for (const id of task.status.waitsFor) {
        const dependents = this.#dependents.get(id);
        if (dependents?.delete(task) && dependents.size === 0) this.#dependents.delete(id);
      }
    }
    if (state === "completed" || state === "cancelled" || state === "dead")
      this.#finished[state].delete(task);
    if (task.dedupeKey !== undefined && this.#liveByDedupeKey.get(task.dedupeKey) === task) {
      this.#liveByDedupeKey.delete(task.dedupeKey);
    }
  }

  #enter(task: Task, now: number): void {
    const { status } = task;
    this.#counts[status.state] += 1;
    if (isLive(status.state) && status.failures.length > 0) this.#retryingCount += 1;
    if (task.dedupeKey !== undefined && isLive(status.state)) this.#liveByDedupeKey.set(task.dedupeKey, task);
    if (status.state === "pending") {
      if (status.runAt > now) this.#pushTo(this.#delayed, { task, status }, this.#counts.pending);
      else this.#pushReady({ task, status });
    } else if (status.state === "waiting") {
      for (const id of status.waitsFor) {
        const dependents = this.#dependents.get(id) ?? new Set();
        dependents.add(task);
        this.#dependents.set(id, dependents);
      }
    } else if (status.state === "claimed") {
      this.#countForKey(task, 1);
      this.#pushTo(this.#claimed, { task, status }, this.#counts.claimed);
    } else {
      this.#finished[status.state].add(task);
    }
  }

  #countForKey({ limitKey }: Task, by: 1 | -1): void {
    if (limitKey === undefined) return;
    const count = this.claimedCountOf(limitKey) + by;
    if (count === 0) this.#claimedByLimitKey.delete(limitKey);
    else this.#claimedByLimitKey.set(limitKey, count);
  }

  #pushReady(entry: Entry): void {
    const heaps = this.#ready[entry.task.priorityRank] as Map<string, BinaryHeap<Entry>>;
    let heap = heaps.get(entry.task.type);
    if (heap === undefined) {
      heap = new BinaryHeap(runOrder);
      heaps.set(entry.task.type, heap);
    }
    this.#pushTo(heap, entry, this.#counts.pending);
  }

  /** Drops outdated entries once they are the larger part, so a heap stays proportional to the live tasks. */
  #pushTo(heap: BinaryHeap<Entry>, entry: Entry, liveCount: number): void {
    heap.push(entry);
    if (heap.size > 1024 && heap.size > 4 * liveCount) heap.retain(isCurrent);
  }

  *#allReady(): Iterable<BinaryHeap<Entry>> {
    for (const heaps of this.#ready) yield* heaps.values();
  }

  *#readyHeaps(rank: number, types: readonly string[] | undefined): Iterable<BinaryHeap<Entry>> {
    const heaps = this.#ready[rank];
    if (heaps === undefined || types === undefined) {
      yield* heaps?.values() ?? [];
      return;
    }
    for (const type of types) {
      const heap = heaps.get(type);
      if (heap !== undefined) yield heap;
    }
  }

  #promoteDue(now: number): void {
    for (;;) {
      const top = this.#firstDelayed();
      if (top === undefined || top.status.runAt > now) return;
      this.#delayed.pop();
      this.#pushReady(top);
    }
  }

  #firstDelayed(): Entry | undefined {
    while (this.#delayed.size > 0 && !isCurrent(this.#delayed.peek() as Entry)) this.#delayed.pop();
    return this.#delayed.peek();
  }

  #firstClaimed(): Entry | undefined {
    while (this.#claimed.size > 0 && !isCurrent(this.#claimed.peek() as Entry)) this.#claimed.pop();
    return this.#claimed.peek();
  }
}
