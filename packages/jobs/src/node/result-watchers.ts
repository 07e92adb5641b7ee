import type { Peer } from "@holdfast/connection";
import { type LogEntry, toWirePosition } from "@holdfast/coordination";
import type { JobEvent } from "@holdfast/protocol/contract";
import { approximateBytes } from "../model/approximate-bytes.ts";
import type { PushLane } from "./push-lane.ts";

/** Somebody who waits for the result of one job and for nothing else. */
export interface ResultWatcher {
  readonly lane: PushLane;
  readonly subscriptionId: string;
}

/**
 * Those who submitted a job and wait for its result only: one push a job, and no tail to keep. One whose push
 * cannot be made (its connection is full) is ended without the result and asks for it.
 */
export class ResultWatchers {
  readonly #byJob = new Map<string, ResultWatcher[]>();
  readonly #byPeer = new Map<Peer, Set<string>>();

  countOf(peer: Peer): number {
    return this.#byPeer.get(peer)?.size ?? 0;
  }

  add(jobId: string, watcher: ResultWatcher): void {
    const { peer } = watcher.lane;
    const watchers = this.#byJob.get(jobId);
    if (watchers === undefined) this.#byJob.set(jobId, [watcher]);
    else watchers.push(watcher);
    const jobs = this.#byPeer.get(peer);
    if (jobs === undefined) this.#byPeer.set(peer, new Set([jobId]));
    else jobs.add(jobId);
  }

  /** Entries that were just committed: the result goes out, the rest is of no interest. */
  publish(jobId: string, entries: readonly LogEntry[]): void {
    const last = entries.at(-1);
    const event = last?.payload as unknown as JobEvent | undefined;
    if (last === undefined || event?.type !== "job.result") return;
    const events = [{ position: toWirePosition(last.position), event }];
    for (const { lane, subscriptionId } of this.#take(jobId)) {
      const push = { subscriptionId, jobId, events, end: true };
      if (!lane.pushTogether(push, approximateBytes(event))) this.#endOne(jobId, { lane, subscriptionId });
    }
  }

  /** The result will not come from here: the watchers must ask. */
  end(jobId: string): void {
    for (const watcher of this.#take(jobId)) this.#endOne(jobId, watcher);
  }

  forgetPeer(peer: Peer): void {
    for (const jobId of this.#byPeer.get(peer) ?? []) {
      const left = (this.#byJob.get(jobId) ?? []).filter(({ lane }) => lane.peer !== peer);
      if (left.length === 0) this.#byJob.delete(jobId);
      else this.#byJob.set(jobId, left);
    }
    this.#byPeer.delete(peer);
  }

  #take(jobId: string): readonly ResultWatcher[] {
    const watchers = this.#byJob.get(jobId);
    if (watchers === undefined) return [];
    this.#byJob.delete(jobId);
    for (const { lane } of watchers) {
      const jobs = this.#byPeer.get(lane.peer);
      jobs?.delete(jobId);
      if (jobs?.size === 0) this.#byPeer.delete(lane.peer);
    }
    return watchers;
  }

  /** Best effort: who does not hear it asks after a while. */
  #endOne(jobId: string, { lane, subscriptionId }: ResultWatcher): void {
    lane.push({ subscriptionId, jobId, events: [], end: true });
  }
}
