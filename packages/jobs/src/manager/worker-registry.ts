import type { Peer } from "@holdfast/connection";
import { type Clock, isHoldfastError } from "@holdfast/kernel";
import {
  cancelTasks,
  type Leader,
  leaderChanged,
  type WorkerRegistration,
  type WorkerView,
  type WorkflowCatalogEntry,
} from "@holdfast/protocol/contract";

export interface WorkerRegistryOptions {
  readonly clock: Clock;
  /** Silence after which a worker is gone although its connection stands. */
  readonly silenceMs: number;
  /** A worker came, went or offers other workflows. */
  readonly onChanged: () => void;
}

/** A worker as this manager knows it. */
export interface KnownWorker {
  readonly registration: WorkerRegistration;
  readonly peer: Peer;
  /** What the worker takes shards of, sorted. */
  readonly workflows: readonly string[];
  heardAt: number;
  /** Shards that it holds, by task id, with when that was last heard. */
  readonly tasks: Map<string, number>;
  /** Shards that it runs besides: other managers gave them out, lead their jobs and renew them. As of its last word. */
  elsewhereCount: number;
  completedShards: number;
  failedShards: number;
  sequence: number;
}

/** Most jobs named in one push. */
const PUSH_MAX_COUNT = 1_000;

/**
 * The workers that are connected to this manager. A worker is known from its registration until its
 * connection closes, it registers on another one, or nothing is heard from it for `silenceMs`.
 */
export class WorkerRegistry {
  readonly #options: WorkerRegistryOptions;
  readonly #workers = new Map<string, KnownWorker>();
  #version = 0;

  constructor(options: WorkerRegistryOptions) {
    this.#options = options;
  }

  /** Grows whenever the set of workers, or what they offer, changes. */
  get version(): number {
    return this.#version;
  }

  get size(): number {
    return this.#workers.size;
  }

  values(): Iterable<KnownWorker> {
    return this.#workers.values();
  }

  get(nodeId: string): KnownWorker | undefined {
    return this.#workers.get(nodeId);
  }

  register(registration: WorkerRegistration, peer: Peer): void {
    const { nodeId } = registration;
    const before = this.#workers.get(nodeId);
    const isSame = before?.peer === peer;
    const isRestarted =
      before !== undefined &&
      (before.registration.startedAt !== registration.startedAt ||
        before.registration.pid !== registration.pid);
    const workflows = registration.workflows.map(({ name }) => name).sort();
    const tasks = isRestarted ? new Map<string, number>() : (before?.tasks ?? new Map<string, number>());
    this.#workers.set(nodeId, {
      registration,
      peer,
      workflows,
      heardAt: this.#options.clock.monotonicNow(),
      tasks,
      elsewhereCount: Math.max(0, (registration.busyCores ?? 0) - tasks.size),
      completedShards: isRestarted ? 0 : (before?.completedShards ?? 0),
      failedShards: isRestarted ? 0 : (before?.failedShards ?? 0),
      sequence: isRestarted ? -1 : (before?.sequence ?? -1),
    });
    if (!isSame) peer.onClose(() => this.#remove(nodeId, peer));
    const isUnchanged =
      before !== undefined &&
      before.registration.state === registration.state &&
      before.workflows.join("\n") === workflows.join("\n");
    if (!isUnchanged) this.#changed();
  }

  /** The worker spoke. */
  heard(nodeId: string): void {
    const worker = this.#workers.get(nodeId);
    if (worker !== undefined) worker.heardAt = this.#options.clock.monotonicNow();
  }

  /**
   * Whether this progress report is new: each worker numbers its reports to this manager, and a repeat or a
   * late one is dropped. Reports of a worker that has not registered here are taken.
   */
  accept(nodeId: string, sequence: number): boolean {
    const worker = this.#workers.get(nodeId);
    if (worker === undefined) return true;
    if (sequence <= worker.sequence) return false;
    worker.sequence = sequence;
    return true;
  }

  /** A shard is on its way to the worker. */
  assigned(nodeId: string, taskId: string): void {
    this.#workers.get(nodeId)?.tasks.set(taskId, this.#options.clock.monotonicNow());
  }

  /** The worker told of a shard that it holds. */
  holds(nodeId: string, taskId: string): void {
    const worker = this.#workers.get(nodeId);
    if (worker === undefined) return;
    if (!worker.tasks.has(taskId)) lowerElsewhere(worker);
    worker.tasks.set(taskId, this.#options.clock.monotonicNow());
  }

  /** What the worker holds now, all of it. */
  holdsOnly(nodeId: string, taskIds: readonly string[]): void {
    const worker = this.#workers.get(nodeId);
    if (worker === undefined) return;
    const now = this.#options.clock.monotonicNow();
    worker.tasks.clear();
    worker.elsewhereCount = 0;
    for (const taskId of taskIds) worker.tasks.set(taskId, now);
  }

  released(nodeId: string, taskId: string, outcome: "completed" | "failed" | "stale"): void {
    const worker = this.#workers.get(nodeId);
    if (worker === undefined) return;
    if (!worker.tasks.delete(taskId)) lowerElsewhere(worker);
    if (outcome === "completed") worker.completedShards += 1;
    if (outcome === "failed") worker.failedShards += 1;
  }

  /** Forgets workers that have been silent too long, and claims that were not heard of for `claimSilenceMs`. */
  sweep(claimSilenceMs: number): readonly KnownWorker[] {
    const now = this.#options.clock.monotonicNow();
    const gone: KnownWorker[] = [];
    for (const [nodeId, worker] of this.#workers) {
      for (const [taskId, heardAt] of worker.tasks) {
        if (now - heardAt > claimSilenceMs) worker.tasks.delete(taskId);
      }
      if (now - worker.heardAt <= this.#options.silenceMs) continue;
      this.#workers.delete(nodeId);
      gone.push(worker);
    }
    if (gone.length > 0) this.#changed();
    return gone;
  }

  /** Tells a worker to stop shards. False when it is not connected here: it learns it when it renews. */
  cancel(
    nodeId: string,
    tasks: readonly { readonly taskId: string; readonly token: string }[],
    reason: string,
  ): boolean {
    return this.#workers.get(nodeId)?.peer.push(cancelTasks, { tasks: [...tasks], reason }) ?? false;
  }

  /** Tells every worker who leads these jobs now. */
  announceLeader(jobs: readonly { readonly jobId: string; readonly leader: Leader }[]): void {
    for (let start = 0; start < jobs.length; start += PUSH_MAX_COUNT) {
      const part = jobs.slice(start, start + PUSH_MAX_COUNT);
      for (const { peer } of this.#workers.values()) peer.push(leaderChanged, { jobs: part });
    }
  }

  /** What the workers offer; where two define a workflow differently the newest registration counts. */
  catalog(): WorkflowCatalogEntry[] {
    const entries = new Map<string, WorkflowCatalogEntry>();
    for (const { registration } of this.#workers.values()) {
      for (const entry of registration.workflows) entries.set(entry.name, entry);
    }
    return [...entries.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  views(): WorkerView[] {
    return [...this.#workers.values()].map((worker) => ({
      nodeId: worker.registration.nodeId,
      datacenter: worker.registration.datacenter,
      state: worker.registration.state,
      cores: worker.registration.cores,
      busyCores: Math.min(worker.tasks.size + worker.elsewhereCount, worker.registration.cores),
      workflows: [...worker.workflows],
      startedAt: worker.registration.startedAt,
      pid: worker.registration.pid,
      host: worker.registration.host,
      completedShards: worker.completedShards,
      failedShards: worker.failedShards,
    }));
  }

  #remove(nodeId: string, peer: Peer): void {
    if (this.#workers.get(nodeId)?.peer !== peer) return;
    this.#workers.delete(nodeId);
    this.#changed();
  }

  #changed(): void {
    this.#version += 1;
    this.#options.onChanged();
  }
}

/** One of the shards that it was only known to hold is known by its id, or has ended. */
const lowerElsewhere = (worker: KnownWorker): void => {
  worker.elsewhereCount = Math.max(0, worker.elsewhereCount - 1);
};

/** True for failures of the connection or the other side's load, after which another worker may be asked. */
export const isWorkerFault = (error: unknown): boolean => isHoldfastError(error) && error.retryable;
