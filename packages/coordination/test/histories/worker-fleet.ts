import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Violation } from "@holdfast/testkit/history";
import type { WorkerEvent, WorkerOptions } from "./events.ts";

const WORKER = fileURLToPath(new URL("../processes/history-worker.ts", import.meta.url));

const FROM_SOURCE = ["--conditions", "holdfast-source", "--import", "tsx"];

/** A worker process, and what is known of its work from its own words. */
export class Worker {
  readonly name: string;
  readonly #child: ChildProcess;
  readonly #record: Recorder;
  readonly #waiters = new Map<string, () => void>();
  readonly #seen = new Set<string>();
  readonly ended: Promise<void>;
  isAlive = true;
  isFrozen = false;

  /** `bundle`: the worker as one JavaScript file, which starts in a tenth of the time. */
  constructor(options: WorkerOptions, record: Recorder, bundle: string | undefined) {
    this.name = options.worker;
    this.#record = record;
    const program = bundle === undefined ? [...FROM_SOURCE, WORKER] : [bundle];
    this.#child = spawn(process.execPath, [...program, JSON.stringify(options)], {
      stdio: ["pipe", "pipe", "pipe"],
    });
    this.#child.stdin?.on("error", () => undefined);
    const stderr: string[] = [];
    this.#child.stderr?.on("data", (chunk: Buffer) => stderr.push(chunk.toString()));
    createInterface({ input: this.#child.stdout as NodeJS.ReadableStream }).on("line", (line) =>
      this.#take(line),
    );
    this.ended = new Promise((resolve) => {
      this.#child.on("close", (code, signal) => {
        this.isAlive = false;
        if (signal === null && code !== 0)
          record.surprise(`${this.name} ended: ${stderr.join("").slice(-1500)}`);
        for (const wake of this.#waiters.values()) wake();
        resolve();
      });
    });
  }

  /** Resolves when it has said so, or has ended. */
  async said(event: string): Promise<void> {
    if (this.#seen.has(event) || !this.isAlive) return;
    await new Promise<void>((resolve) => this.#waiters.set(event, resolve));
  }

  say(line: string): void {
    this.#child.stdin?.write(`${line}\n`);
  }

  signal(signal: "SIGKILL" | "SIGSTOP" | "SIGCONT"): void {
    if (signal !== "SIGKILL") this.isFrozen = signal === "SIGSTOP";
    if (this.isAlive) this.#child.kill(signal);
  }

  #take(line: string): void {
    let event: WorkerEvent;
    try {
      event = JSON.parse(line) as WorkerEvent;
    } catch {
      // The last line of one that was killed in the middle of it.
      return;
    }
    this.#record.take(this.name, event);
    this.#seen.add(event.e);
    this.#waiters.get(event.e)?.();
  }
}

/** What all workers of a history did, put together for the checkers. */
export class Recorder {
  readonly counts = new Map<string, number>();
  readonly acknowledged = { pg: new Set<string>(), redis: new Set<string>() };
  readonly unknown = { pg: new Set<string>(), redis: new Set<string>() };
  /** Completions that Redis accepted, by task. */
  readonly ended = new Map<string, number>();
  readonly #claims = new Map<string, string>();
  readonly counters = {
    pg: new Map<string, { answered: number; sent: number }>(),
    redis: new Map<string, { answered: number; sent: number }>(),
  };
  readonly shown = {
    pg: new Map<string, ReadonlyMap<string, string>>(),
    redis: new Map<string, ReadonlyMap<string, string>>(),
  };
  readonly violations: Violation[] = [];
  readonly surprises: string[] = [];

  count(what: string, by = 1): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + by);
  }

  surprise(text: string): void {
    this.count("surprises");
    if (this.surprises.length < 20) this.surprises.push(text);
  }

  take(worker: string, event: WorkerEvent): void {
    if (event.e === "enqueue") this.unknown[event.on].add(event.id);
    else if (event.e === "enqueued") {
      this.unknown[event.on].delete(event.id);
      this.acknowledged[event.on].add(event.id);
    } else if (event.e === "claimed") this.#claimed(worker, event);
    else if (event.e === "ended") {
      this.ended.set(event.id, (this.ended.get(event.id) ?? 0) + 1);
      this.count("completed on redis");
    } else if (event.e === "add" || event.e === "added") {
      const counters = this.counters[event.on];
      const sums = counters.get(event.key) ?? { answered: 0, sent: 0 };
      sums[event.e === "add" ? "sent" : "answered"] += event.by;
      counters.set(event.key, sums);
      if (event.e === "added") this.count("increments");
    } else if (event.e === "shows") this.shown[event.on].set(worker, new Map(event.entries));
    else if (event.e === "read") this.count("entries read", event.count);
    else if (event.e === "violation") this.violations.push(event.violation);
    else if (event.e === "surprise") this.surprise(`${worker}: ${event.text}`);
    else if (event.e !== "ready" && event.e !== "quiet" && event.e !== "over") this.count(event.e);
  }

  #claimed(worker: string, { id, token }: { readonly id: string; readonly token: string }): void {
    const claim = `${id} under token ${token}`;
    const other = this.#claims.get(claim);
    if (other !== undefined) {
      this.violations.push({
        invariant: "no token twice",
        detail: `${claim} was claimed by ${other} and ${worker}`,
      });
    }
    this.#claims.set(claim, worker);
  }
}
