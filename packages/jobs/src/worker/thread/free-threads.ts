import type { Clock, Timer } from "@holdfast/kernel";
import type { WorkflowThread } from "./workflow-thread.ts";

/** Long enough for the next job of a busy stretch to find its caches warm. */
const IDLE_LIMIT_MS = 30_000;

/**
 * Threads that wait for work. The one used last goes first: its caches are warm.
 *
 * A thread that was used keeps what its workflows left behind (an idle heap is never collected), so one that
 * nobody took for 30 s is handed to `onIdle`. One that was never used may stay for ever.
 */
export class FreeThreads {
  readonly #clock: Clock;
  readonly #onIdle: (thread: WorkflowThread) => void;
  #threads: { readonly thread: WorkflowThread; readonly since: number | undefined }[] = [];
  #check: Timer | undefined;

  constructor(options: { readonly clock: Clock; readonly onIdle: (thread: WorkflowThread) => void }) {
    this.#clock = options.clock;
    this.#onIdle = options.onIdle;
  }

  get count(): number {
    return this.#threads.length;
  }

  take(): WorkflowThread | undefined {
    return this.#threads.pop()?.thread;
  }

  giveFresh(thread: WorkflowThread): void {
    this.#threads.unshift({ thread, since: undefined });
  }

  giveUsed(thread: WorkflowThread): void {
    this.#threads.push({ thread, since: this.#clock.monotonicNow() });
    this.#check ??= this.#checkIn(IDLE_LIMIT_MS);
  }

  delete(thread: WorkflowThread): void {
    this.#threads = this.#threads.filter((free) => free.thread !== thread);
  }

  close(): void {
    this.#check?.cancel();
    this.#threads = [];
  }

  #checkIn(ms: number): Timer {
    return this.#clock.schedule(ms, () => this.#letIdleGo(), { unref: true });
  }

  #letIdleGo(): void {
    this.#check = undefined;
    const now = this.#clock.monotonicNow();
    let nextMs = Number.POSITIVE_INFINITY;
    const idle: WorkflowThread[] = [];
    this.#threads = this.#threads.filter(({ thread, since }) => {
      const leftMs = since === undefined ? Number.POSITIVE_INFINITY : since + IDLE_LIMIT_MS - now;
      if (leftMs <= 0) idle.push(thread);
      else nextMs = Math.min(nextMs, leftMs);
      return leftMs > 0;
    });
    if (Number.isFinite(nextMs)) this.#check = this.#checkIn(nextMs);
    for (const thread of idle) this.#onIdle(thread);
  }
}
