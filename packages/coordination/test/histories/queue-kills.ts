import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";
import type { QueueStats, TaskQueue } from "@holdfast/coordination";
import { createPostgresStore } from "@holdfast/coordination/postgres";
import { createRedisStore } from "@holdfast/coordination/redis";
import { randomInt, seededRandom } from "@holdfast/kernel";
import { startPostgres, startRedis } from "@holdfast/testkit";
import { openPg } from "../pg-client.ts";
import { openRedis } from "../redis-client.ts";

export interface KillsWorkerOptions {
  readonly on: "postgres" | "redis";
  readonly url: string;
  readonly worker: string;
  readonly leaseMs: number;
}

/** What a worker says: tasks by number, with the token of the claim. */
export interface KillsEvent {
  readonly begun?: readonly (readonly [number, string])[];
  readonly accepted?: readonly (readonly [number, string])[];
  readonly refusedCount?: number;
}

export interface QueueKillsOptions {
  readonly on: "postgres" | "redis";
  readonly seed: number;
  readonly taskCount: number;
  readonly killCount: number;
  readonly workerCount: number;
  readonly leaseMs: number;
  /** The worker as one JavaScript file. */
  readonly workerBundle: string;
  readonly onProgress: (line: string) => void;
}

export interface QueueKillsReport {
  readonly on: string;
  readonly seed: number;
  readonly seconds: number;
  readonly tasks: number;
  readonly kills: number;
  readonly freezes: number;
  /** Ends that the store refused because the claim was not the newest any more. */
  readonly staleRefused: number;
  /** Tasks that were begun by a worker when it was killed, and had not ended. */
  readonly interrupted: number;
  /** How many of them others began again, and how long after the kill, milliseconds. */
  readonly again: number;
  readonly againP50Ms: number;
  readonly againP99Ms: number;
  readonly againMaxMs: number;
  readonly stats: QueueStats;
  readonly violations: readonly string[];
}

class KillsWorker {
  readonly child: ChildProcess;
  readonly ended: Promise<void>;
  /** Begun and not known to have ended. */
  readonly open = new Set<number>();
  isReady = false;
  isFrozen = false;

  constructor(
    options: KillsWorkerOptions,
    bundle: string,
    onEvent: (from: KillsWorker, event: KillsEvent) => void,
  ) {
    this.child = spawn(process.execPath, [bundle, JSON.stringify(options)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    createInterface({ input: this.child.stdout as NodeJS.ReadableStream }).on("line", (line) => {
      try {
        onEvent(this, JSON.parse(line) as KillsEvent);
      } catch (error) {
        // The last line of one that was killed in the middle of it.
        if (!(error instanceof SyntaxError)) throw error;
      }
      this.isReady = true;
    });
    this.ended = new Promise((resolve) => this.child.on("close", () => resolve()));
  }
}

const openStore = async (on: "postgres" | "redis") => {
  if (on === "postgres") {
    const server = await startPostgres({ settings: { max_connections: 200, shared_buffers: "256MB" } });
    const sql = openPg(server.url, 4);
    const store = await createPostgresStore({ sql });
    return { url: server.url, store, close: [store, sql, server] };
  }
  const server = await startRedis();
  const redis = await openRedis(server.url);
  const store = await createRedisStore({ redis });
  return { url: server.url, store, close: [store, redis, server] };
};

/**
 * Works off very many tasks with workers that are killed, and frozen beyond their leases, evenly over the work; then
 * sees that each was completed once, under the newest claim that anybody had of it.
 */
export const runQueueKills = async (options: QueueKillsOptions): Promise<QueueKillsReport> => {
  const startedAt = performance.now();
  const random = seededRandom(options.seed);
  const log = (what: string): void =>
    options.onProgress(`${options.on} ${Math.round((performance.now() - startedAt) / 1000)} s: ${what}`);
  const { url, store, close } = await openStore(options.on);
  const queue = store.queue("kills") as TaskQueue<never>;
  const workers = new Set<KillsWorker>();
  const newestToken = new Map<number, bigint>();
  const acceptedToken = new Map<number, bigint>();
  const interruptedAt = new Map<number, number>();
  const againMs: number[] = [];
  const violations: string[] = [];
  const pending = new Set<Promise<void>>();
  let [spawnedCount, killCount, freezeCount, staleRefused, interrupted] = [0, 0, 0, 0, 0];

  const onEvent = (from: KillsWorker, { begun = [], accepted = [], refusedCount = 0 }: KillsEvent): void => {
    for (const [task, text] of begun) {
      const token = BigInt(text);
      from.open.add(task);
      if (token > (newestToken.get(task) ?? 0n)) newestToken.set(task, token);
      const since = interruptedAt.get(task);
      if (since === undefined || !workers.has(from)) continue;
      againMs.push(performance.now() - since);
      interruptedAt.delete(task);
    }
    for (const [task, text] of accepted) {
      from.open.delete(task);
      // Its end was accepted, but the worker was killed before we heard of it.
      if (interruptedAt.delete(task)) interrupted -= 1;
      if (acceptedToken.has(task)) violations.push(`task ${task} was completed twice`);
      acceptedToken.set(task, BigInt(text));
    }
    staleRefused += refusedCount;
  };
  const addWorker = (): void => {
    spawnedCount += 1;
    const { on, leaseMs } = options;
    const worker = new KillsWorker(
      { on, url, leaseMs, worker: `w${spawnedCount}` },
      options.workerBundle,
      onEvent,
    );
    workers.add(worker);
  };
  const kill = async (worker: KillsWorker): Promise<void> => {
    const killedAt = performance.now();
    worker.child.kill("SIGKILL");
    await worker.ended;
    workers.delete(worker);
    for (const task of worker.open) {
      if (acceptedToken.has(task) || interruptedAt.has(task)) continue;
      interruptedAt.set(task, killedAt);
      interrupted += 1;
    }
  };
  const freeze = (worker: KillsWorker): void => {
    worker.isFrozen = true;
    worker.child.kill("SIGSTOP");
    const thaw = pause(options.leaseMs * 2.5).then(() => {
      worker.child.kill("SIGCONT");
      worker.isFrozen = false;
    });
    pending.add(thaw);
    void thaw.finally(() => pending.delete(thaw));
  };

  try {
    for (let added = 0; added < options.taskCount; added += 1000) {
      const count = Math.min(1000, options.taskCount - added);
      await queue.enqueue(
        Array.from({ length: count }, (_, n) => ({ type: "t", payload: added + n, maxAttempts: 1000 })),
      );
    }
    log("all tasks are enqueued");
    for (let n = 0; n < options.workerCount; n += 1) addWorker();
    // What was completed and never told of because its worker was killed is missing from the count.
    const between = (options.taskCount * 0.9) / (options.killCount + 1);
    while (acceptedToken.size < options.taskCount) {
      await pause(50);
      if (killCount < options.killCount && acceptedToken.size >= (killCount + 1) * between) {
        const ready = [...workers].filter(({ isReady, isFrozen }) => isReady && !isFrozen);
        const victim = ready[randomInt(random, Math.max(1, ready.length))];
        if (victim === undefined) continue;
        await kill(victim);
        addWorker();
        killCount += 1;
        const other = [...workers].find(({ isReady, isFrozen }) => isReady && !isFrozen);
        if (killCount % 4 === 0 && other !== undefined) {
          freezeCount += 1;
          freeze(other);
        }
        if (killCount % 20 === 0) log(`${killCount} kills, ${acceptedToken.size} tasks completed`);
        continue;
      }
      // What was completed by workers that could not tell us any more is known to the store alone.
      if (acceptedToken.size < options.taskCount * 0.9) continue;
      const { completed } = await queue.stats();
      if (completed === options.taskCount) break;
    }
    await Promise.all(pending);
    log("checking");
    for (const [task, token] of acceptedToken) {
      const newest = newestToken.get(task) ?? 0n;
      if (token < newest)
        violations.push(`task ${task} was completed under ${token}, but claimed under ${newest}`);
    }
    const stats = await queue.stats();
    if (stats.completed !== options.taskCount || stats.total !== options.taskCount) {
      violations.push(
        `of ${options.taskCount} tasks ${stats.completed} are completed, ${stats.total} are there`,
      );
    }
    againMs.sort((a, b) => a - b);
    const share = (of: number): number => Math.round(againMs[Math.ceil(of * againMs.length) - 1] ?? 0);
    return {
      on: options.on,
      seed: options.seed,
      seconds: Math.round((performance.now() - startedAt) / 1000),
      tasks: options.taskCount,
      kills: killCount,
      freezes: freezeCount,
      staleRefused,
      interrupted,
      again: againMs.length,
      againP50Ms: share(0.5),
      againP99Ms: share(0.99),
      againMaxMs: share(1),
      stats,
      violations: violations.slice(0, 20),
    };
  } finally {
    const all = [...workers];
    for (const { child } of all) child.kill("SIGKILL");
    await Promise.all(all.map(({ ended }) => ended));
    for (const resource of close) await resource[Symbol.asyncDispose]();
  }
};
