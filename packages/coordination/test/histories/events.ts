import type { Violation } from "@holdfast/testkit/history";

/** Shorter than the longest freeze, so that frozen holders are deposed. */
export const LEASE_MS = 1000;
export const LOCK_COUNT = 4;
export const COUNTER_COUNT = 3;

export interface WorkerOptions {
  readonly worker: string;
  readonly seed: number;
  readonly pgUrl: string;
  readonly redisUrl: string;
  readonly schema: string;
  /** How many things it does at the same time. */
  readonly lanes: number;
}

/** What a worker says, one line each. */
export type WorkerEvent =
  | { readonly e: "ready" | "quiet" | "over" }
  /** Done under a lock, or refused by the resource because another token was there. */
  | { readonly e: "locked" | "refused" }
  | { readonly e: "enqueue" | "enqueued"; readonly on: "pg" | "redis"; readonly id: string }
  /** A task on Redis, and the token under which it was claimed. */
  | { readonly e: "claimed"; readonly id: string; readonly token: string }
  /** Its completion on Redis was accepted. */
  | { readonly e: "ended"; readonly id: string }
  | { readonly e: "completed" | "stale" | "wrote" }
  | { readonly e: "add" | "added"; readonly on: "pg" | "redis"; readonly key: string; readonly by: number }
  | {
      readonly e: "shows";
      readonly on: "pg" | "redis";
      readonly entries: readonly (readonly [string, string])[];
    }
  | { readonly e: "read"; readonly count: number }
  | { readonly e: "violation"; readonly violation: Violation }
  /** An error that no fault explains. */
  | { readonly e: "surprise"; readonly text: string };
