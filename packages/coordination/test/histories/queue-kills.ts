import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";
import type { QueueStats } from "@holdfast/coordination";
import { randomInt, seededRandom } from "@holdfast/kernel";
import { Interruptions, type InterruptionsReport } from "./interruptions.ts";
import { openKillsStore } from "./kills-store.ts";

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

export interface QueueKillsReport extends InterruptionsReport {
  readonly on: string;
  readonly seed: number;
  readonly seconds: number;
  readonly tasks: number;
  readonly kills: number;
  readonly freezes: number;
  /** Ends that the store refused because the claim was not the newest any more. */
  readonly staleRefused: number;
  readonly stats: QueueStats;
  readonly violations: readonly string[];
}

class KillsWorker {
  readonly child: ChildProcess;
  readonly ended: Promise<void>;
  readonly name: string;
  isReady = false;
  isFrozen = false;

  constructor(options: KillsWorkerOptions, bundle: string, onEvent: (event: KillsEvent) => void) {
    this.name = options.worker;
    this.child = spawn(process.execPath, [bundle, JSON.stringify(options)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    createInterface({ input: this.child.stdout as NodeJS.ReadableStream }).on("line", (line) => {
      try {
        onEvent(JSON.parse(line) as KillsEvent);
      } catch (error) {
        // The last line of one that was killed in the middle of it.
        if (!(error instanceof SyntaxError)) throw error;
      }
      this.isReady = true;
    });
    this.ended = new Promise((resolve) => this.child.on("close", () => resolve()));
  }
}

/** At this share of the lease what a worker had sent when it died is done, and nothing that it holds has lapsed. */
const LAST_WORDS_AT = 0.1;
/** How long after its worker died a task may begin again, besides the lease: half of it goes into finding out. */
const AGAIN_MARGIN_MS = 2500;

/** Ids grow as those that the store makes. */
const idOf = (task: number): string => `${task}`.padStart(8, "0");

/**
 * Works off very many tasks with workers that are killed, and frozen beyond their leases, evenly over the work; then
 * sees that each was completed once, under the newest claim that anybody had of it.
 */
export const runQueueKills = async (options: QueueKillsOptions): Promise<QueueKillsReport> => {
  const startedAt = performance.now();
  const random = seededRandom(options.seed);
  const log = (what: string): void =>
    options.onProgress(`${options.on} ${Math.round((performance.now() - startedAt) / 1000)} s: ${what}`);
  await using store = await openKillsStore(options.on);
  const { queue, url } = store;
  const workers = new Set<KillsWorker>();
  const newestToken = new Map<number, bigint>();
  const acceptedToken = new Map<number, bigint>();
  const interruptions = new Interruptions();
  const violations: string[] = [];
  const pending = new Set<Promise<void>>();
  let [spawnedCount, killCount, freezeCount, staleRefused] = [0, 0, 0, 0];

  const onEvent = ({ begun = [], accepted = [], refusedCount = 0 }: KillsEvent): void => {
    for (const [task, text] of begun) {
      const token = BigInt(text);
      if (token > (newestToken.get(task) ?? 0n)) newestToken.set(task, token);
      interruptions.begun(idOf(task), token, performance.now());
    }
    for (const [task, text] of accepted) {
      interruptions.ended(idOf(task), BigInt(text));
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
  const goOn = (work: Promise<void>): void => {
    pending.add(work);
    void work.finally(() => pending.delete(work));
  };
  const noteHeld = async ({ name }: KillsWorker, at: number): Promise<void> => {
    await pause(options.leaseMs * LAST_WORDS_AT);
    interruptions.cut(await store.heldBy(name), at);
  };
  const kill = async (worker: KillsWorker): Promise<void> => {
    const killedAt = performance.now();
    worker.child.kill("SIGKILL");
    await worker.ended;
    workers.delete(worker);
    goOn(noteHeld(worker, killedAt));
  };
  const freeze = (worker: KillsWorker): void => {
    worker.isFrozen = true;
    worker.child.kill("SIGSTOP");
    goOn(noteHeld(worker, performance.now()));
    const thaw = async (): Promise<void> => {
      await pause(options.leaseMs * 2.5);
      worker.child.kill("SIGCONT");
      worker.isFrozen = false;
    };
    goOn(thaw());
  };

  try {
    for (let added = 0; added < options.taskCount; added += 1000) {
      const count = Math.min(1000, options.taskCount - added);
      await queue.enqueue(
        Array.from({ length: count }, (_, n) => ({
          id: idOf(added + n),
          type: "t",
          payload: added + n,
          maxAttempts: 1000,
        })),
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
    for (const { id, token, attempt } of interruptions.open) {
      // Its holder's last words were its end, and reached the store late.
      if ((await queue.get(id))?.attempt === attempt) interruptions.ended(id, token);
      else violations.push(`task ${id} was begun again and nobody said so`);
    }
    const again = interruptions.report();
    if (again.againMaxMs > options.leaseMs + AGAIN_MARGIN_MS) {
      violations.push(`a task of a killed worker began again after ${again.againMaxMs} ms only`);
    }
    return {
      on: options.on,
      seed: options.seed,
      seconds: Math.round((performance.now() - startedAt) / 1000),
      tasks: options.taskCount,
      kills: killCount,
      freezes: freezeCount,
      staleRefused,
      ...again,
      stats,
      violations: violations.slice(0, 20),
    };
  } finally {
    const all = [...workers];
    for (const { child } of all) child.kill("SIGKILL");
    await Promise.all(all.map(({ ended }) => ended));
  }
};
