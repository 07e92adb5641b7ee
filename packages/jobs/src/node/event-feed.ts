import type { Handlers, Peer, RequestContext } from "@holdfast/connection";
import {
  fromWirePosition,
  type Log,
  type LogEntry,
  type LogRead,
  type Position,
  toWirePosition,
} from "@holdfast/coordination";
import { type Clock, type Logger, OverloadedError, TaskGroup } from "@holdfast/kernel";
import {
  followJob,
  type InputOf,
  type JobStatus,
  type jobEvents,
  type Leader,
  type OutputOf,
  unfollowJob,
} from "@holdfast/protocol/contract";
import type { z } from "zod";
import { jobStream } from "../model/job-stream.ts";
import { TERMINAL_STATUSES } from "../model/job-table.ts";
import { FeedSubscription, type FeedTarget } from "./feed-subscription.ts";
import { JobTail } from "./job-tail.ts";

/** What the node knows of a job that somebody wants to follow. */
export interface FollowedJob {
  readonly status: JobStatus;
  readonly leader: Leader;
  /** The newest committed position, when the node knows it without asking the store. */
  readonly head?: Position;
}

export interface EventFeedOptions {
  readonly log: Pick<Log<unknown>, "read" | "tail" | "bounds">;
  /** @throws JobNotFoundError when the store has no such job. */
  readonly lookup: (jobId: string, options: { readonly signal: AbortSignal }) => Promise<FollowedJob>;
  /**
   * Whether this node leads the job now, so that every committed event comes through `publish`. The others'
   * jobs are tailed from the log. Cheap, and asked often.
   */
  readonly leads: (jobId: string) => boolean;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Subscriptions of one client connection; more are refused with KERNEL_OVERLOADED. Default 1000. */
  readonly subscriptionMaxCount?: number;
  /** The same for a gate that follows a manager. Default 100_000. */
  readonly nodeSubscriptionMaxCount?: number;
  /** No push is made while this much waits on a connection. Default 256 KiB. */
  readonly bufferedMaxBytes?: number;
  /** About how large one push may get; one larger event still goes alone. Default 128 KiB. */
  readonly pushMaxBytes?: number;
  /** Newest events per job kept in memory. Default 500, at most 256 KiB. */
  readonly tailEntryMaxCount?: number;
  /** Newest events of all jobs together kept in memory; the rest is read from the store. Default 64 MiB. */
  readonly memoryMaxBytes?: number;
  /** Jobs led here whose newest events are kept although nobody follows them yet. Default 2000. */
  readonly idleTailMaxCount?: number;
}

export interface EventFeedStats {
  readonly followedJobs: number;
  readonly subscriptions: number;
  readonly pausedSubscriptions: number;
  readonly memoryBytes: number;
  readonly pushedEvents: number;
}

/** Most events in one push, as the contract has it. */
const PUSH_MAX_COUNT = 1_000;
const TAIL_MAX_BYTES = 256 * 1024;
/** How often a tail checks that it is fed from the right side. */
const SOURCE_CHECK_MS = 2_000;

interface FollowedTail {
  readonly jobId: string;
  readonly tail: JobTail;
  readonly subscriptions: Set<FeedSubscription>;
  /** Stops the log tail; undefined while the leader feeds it. */
  stopLogTail: (() => void) | undefined;
  /** What is counted in the feed's memory for it. */
  countedBytes: number;
}

interface ConnectedPeer {
  readonly peer: Peer;
  readonly subscriptions: Map<string, FeedSubscription>;
  /** Those that wait for the connection's buffer, longest waiting first. */
  readonly paused: Set<FeedSubscription>;
}

/**
 * Lets any number of connections follow the logs of jobs, each from its own position.
 *
 * Guaranteed: a subscription gets every event after its position exactly once and in order, history first,
 * then live, or is told `reset`; after the last event of a finished job it gets `end`. A slow connection
 * delays only itself: nothing is buffered for it beyond `bufferedMaxBytes`, it goes on from its position when
 * it has drained. One tail per job serves all who follow it, however many.
 */
export class EventFeed implements AsyncDisposable {
  readonly #options: EventFeedOptions;
  readonly #tasks: TaskGroup;
  /** Least recently published first. */
  readonly #tails = new Map<string, FollowedTail>();
  readonly #idle = new Set<FollowedTail>();
  readonly #peers = new Map<Peer, ConnectedPeer>();
  readonly #target: FeedTarget;
  #memoryBytes = 0;
  #pushedEvents = 0;

  constructor(options: EventFeedOptions) {
    this.#options = options;
    this.#tasks = new TaskGroup({ logger: options.logger });
    this.#target = {
      log: options.log,
      clock: options.clock,
      tasks: this.#tasks,
      logger: options.logger,
      bufferedMaxBytes: options.bufferedMaxBytes ?? 256 * 1024,
      chunk: { entryMaxCount: PUSH_MAX_COUNT, sizeMaxBytes: options.pushMaxBytes ?? 128 * 1024 },
      onPaused: (subscription) => {
        this.#peers.get(subscription.peer)?.paused.add(subscription);
      },
      onPushed: (count) => {
        this.#pushedEvents += count;
      },
      onEnded: (subscription) => this.#remove(subscription),
    };
    this.#tasks.spawn("feed-source-check", async (signal) => {
      for (;;) {
        await options.clock.sleep(SOURCE_CHECK_MS, { signal });
        for (const followed of [...this.#tails.values()]) this.#chooseSource(followed);
      }
    });
  }

  /** Serves `jobs.follow` and `jobs.unfollow` as they are, without admission. */
  register(handlers: Handlers): void {
    handlers.onRequest(followJob, (input, context) => this.follow(input, context));
    handlers.onRequest(unfollowJob, (input, context) => this.unfollow(input, context));
  }

  /**
   * Starts (or, for a known `subscriptionId`, starts again) pushing the job's events to the asking connection.
   * @throws JobNotFoundError; OverloadedError when the connection has too many subscriptions; retryable.
   */
  async follow(
    input: z.output<typeof followJob.input>,
    context: RequestContext,
  ): Promise<OutputOf<typeof followJob>> {
    const connected = this.#connected(context.peer);
    connected.subscriptions.get(input.subscriptionId)?.close();
    const limit = this.#subscriptionLimit(context.peer);
    if (!connected.subscriptions.has(input.subscriptionId) && connected.subscriptions.size >= limit) {
      throw new OverloadedError(`the list of followed jobs of ${describePeer(context.peer)}`, limit);
    }
    const job = await this.#options.lookup(input.jobId, { signal: context.signal });
    const isTerminal = (TERMINAL_STATUSES as readonly JobStatus[]).includes(job.status);
    // The tail starts before the log's end is read: what is committed in between comes through it.
    const followed = this.#open(input.jobId);
    let head: Position;
    try {
      head =
        job.head ?? (await this.#options.log.bounds(jobStream(input.jobId), { signal: context.signal })).head;
    } catch (error) {
      this.#closeIfUnused(followed);
      throw error;
    }
    if (isTerminal) followed.tail.markEnded(head);
    else followed.tail.advance({ head });
    if (!context.peer.isOpen || this.#tasks.signal.aborted) {
      this.#closeIfUnused(followed);
      return { status: job.status, head: toWirePosition(head), leader: job.leader };
    }
    // Another follow with this id may have run while this one waited.
    connected.subscriptions.get(input.subscriptionId)?.close();
    const subscription = new FeedSubscription(this.#target, {
      peer: context.peer,
      subscriptionId: input.subscriptionId,
      jobId: input.jobId,
      tail: followed.tail,
      position: input.after === undefined ? undefined : fromWirePosition(input.after),
    });
    connected.subscriptions.set(input.subscriptionId, subscription);
    followed.subscriptions.add(subscription);
    this.#idle.delete(followed);
    this.#chooseSource(followed);
    subscription.serve();
    return { status: job.status, head: toWirePosition(head), leader: job.leader };
  }

  async unfollow(
    input: InputOf<typeof unfollowJob>,
    context: RequestContext,
  ): Promise<OutputOf<typeof unfollowJob>> {
    this.#peers.get(context.peer)?.subscriptions.get(input.subscriptionId)?.close();
    return {};
  }

  /** Hands over entries that were just committed for a job led here. Cheap when nobody follows it. */
  publish(jobId: string, entries: readonly LogEntry[]): void {
    if (this.#tasks.signal.aborted) return;
    let followed = this.#tails.get(jobId);
    if (followed === undefined) {
      if (entries.length === 0 || !this.#options.leads(jobId)) return;
      followed = this.#open(jobId);
    } else {
      // To the end of the line of those whose memory is freed first.
      this.#tails.delete(jobId);
      this.#tails.set(jobId, followed);
    }
    this.#take(followed, entries);
  }

  /** Says that this node began or ceased to lead the job. */
  leadershipChanged(jobId: string): void {
    const followed = this.#tails.get(jobId);
    if (followed !== undefined) this.#chooseSource(followed);
  }

  /** Drops what is known of a job that was deleted; its watchers are closed without `end`. */
  forget(jobId: string): void {
    const followed = this.#tails.get(jobId);
    if (followed === undefined) return;
    for (const subscription of [...followed.subscriptions]) subscription.close();
    this.#closeIfUnused(followed, { evenIfLed: true });
  }

  stats(): EventFeedStats {
    let paused = 0;
    let subscriptions = 0;
    for (const connected of this.#peers.values()) {
      paused += connected.paused.size;
      subscriptions += connected.subscriptions.size;
    }
    return {
      followedJobs: this.#tails.size - this.#idle.size,
      subscriptions,
      pausedSubscriptions: paused,
      memoryBytes: this.#memoryBytes,
      pushedEvents: this.#pushedEvents,
    };
  }

  /** Stops all tails; subscriptions end silently (their connections close with the node). Idempotent. */
  async close(): Promise<void> {
    for (const connected of this.#peers.values()) {
      for (const subscription of [...connected.subscriptions.values()]) subscription.close();
    }
    await this.#tasks.stop();
    this.#tails.clear();
    this.#idle.clear();
    this.#peers.clear();
    this.#memoryBytes = 0;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #connected(peer: Peer): ConnectedPeer {
    const known = this.#peers.get(peer);
    if (known !== undefined) return known;
    const connected: ConnectedPeer = { peer, subscriptions: new Map(), paused: new Set() };
    this.#peers.set(peer, connected);
    const stopListening = peer.onDrain(() => {
      const waiting = [...connected.paused];
      connected.paused.clear();
      for (const subscription of waiting) subscription.serve();
    });
    peer.onClose(() => {
      stopListening();
      for (const subscription of [...connected.subscriptions.values()]) subscription.close();
      this.#peers.delete(peer);
    });
    return connected;
  }

  #subscriptionLimit(peer: Peer): number {
    const isNode = peer.remote.role === "gate" && peer.remote.scopes.includes("operate");
    return isNode
      ? (this.#options.nodeSubscriptionMaxCount ?? 100_000)
      : (this.#options.subscriptionMaxCount ?? 1_000);
  }

  #open(jobId: string): FollowedTail {
    let followed = this.#tails.get(jobId);
    if (followed === undefined) {
      followed = {
        jobId,
        tail: new JobTail(),
        subscriptions: new Set(),
        stopLogTail: undefined,
        countedBytes: 0,
      };
      this.#tails.set(jobId, followed);
      this.#idle.add(followed);
    }
    return followed;
  }

  #take(followed: FollowedTail, entries: readonly LogEntry[]): void {
    followed.tail.append(entries);
    followed.tail.trim({
      entryMaxCount: this.#options.tailEntryMaxCount ?? 500,
      sizeMaxBytes: TAIL_MAX_BYTES,
    });
    this.#recount(followed);
    this.#freeMemory();
    for (const subscription of [...followed.subscriptions]) subscription.serve();
  }

  #recount(followed: FollowedTail): void {
    this.#memoryBytes += followed.tail.sizeBytes - followed.countedBytes;
    followed.countedBytes = followed.tail.sizeBytes;
  }

  /** Least recently published jobs lose their entries first; jobs that nobody follows lose their tail. */
  #freeMemory(): void {
    const idleMax = this.#options.idleTailMaxCount ?? 2_000;
    for (const followed of this.#idle) {
      if (this.#idle.size <= idleMax) break;
      this.#closeIfUnused(followed, { evenIfLed: true });
    }
    const memoryMax = this.#options.memoryMaxBytes ?? 64 * 1024 * 1024;
    if (this.#memoryBytes <= memoryMax) return;
    for (const followed of [...this.#tails.values()]) {
      if (this.#memoryBytes <= memoryMax) break;
      followed.tail.drop();
      this.#recount(followed);
      this.#closeIfUnused(followed, { evenIfLed: true });
    }
  }

  /** Feeds the tail from the leader's publications or from the log, whichever is right now. */
  #chooseSource(followed: FollowedTail): void {
    const isLedHere = this.#options.leads(followed.jobId);
    if (followed.subscriptions.size === 0) {
      if (!isLedHere) this.#closeIfUnused(followed);
      return;
    }
    if (isLedHere || followed.tail.isEnded) {
      followed.stopLogTail?.();
      followed.stopLogTail = undefined;
      return;
    }
    if (followed.stopLogTail !== undefined) return;
    const controller = new AbortController();
    followed.stopLogTail = () => controller.abort(new Error("the tail is not needed any more"));
    this.#tasks.spawn(`tail ${followed.jobId}`, (signal) =>
      this.#followLog(followed, AbortSignal.any([signal, controller.signal])),
    );
  }

  async #followLog(followed: FollowedTail, signal: AbortSignal): Promise<void> {
    let delayMs = 100;
    while (!signal.aborted) {
      try {
        const after = followed.tail.head;
        const stream = this.#options.log.tail(jobStream(followed.jobId), { after, signal });
        for await (const item of stream) {
          delayMs = 100;
          if (signal.aborted) return;
          this.#onLogItem(followed, item);
        }
      } catch (error) {
        if (signal.aborted) return;
        this.#options.logger.warn(
          { err: error, jobId: followed.jobId, retryInMs: delayMs },
          "the log of a followed job could not be read; trying again",
        );
        await this.#options.clock.sleep(delayMs, { signal }).catch(() => undefined);
        delayMs = Math.min(delayMs * 2, 5_000);
      }
    }
  }

  #onLogItem(followed: FollowedTail, item: LogRead): void {
    if (item.kind === "entries") {
      this.#take(followed, item.entries);
      return;
    }
    followed.tail.advance(item.bounds);
    this.#recount(followed);
    for (const subscription of [...followed.subscriptions]) subscription.serve();
  }

  #remove(subscription: FeedSubscription): void {
    const connected = this.#peers.get(subscription.peer);
    if (connected?.subscriptions.get(subscription.subscriptionId) === subscription) {
      connected.subscriptions.delete(subscription.subscriptionId);
    }
    connected?.paused.delete(subscription);
    this.#detach(subscription);
  }

  #detach(subscription: FeedSubscription): void {
    const followed = this.#tails.get(subscription.jobId);
    if (followed === undefined) return;
    followed.subscriptions.delete(subscription);
    this.#closeIfUnused(followed);
  }

  /** A tail of a job led here stays for the next watcher (bounded); any other goes with its last one. */
  #closeIfUnused(followed: FollowedTail, options: { readonly evenIfLed?: boolean } = {}): void {
    if (followed.subscriptions.size > 0) return;
    followed.stopLogTail?.();
    followed.stopLogTail = undefined;
    if (!options.evenIfLed && this.#options.leads(followed.jobId)) {
      this.#idle.add(followed);
      return;
    }
    this.#idle.delete(followed);
    if (this.#tails.get(followed.jobId) === followed) this.#tails.delete(followed.jobId);
    this.#memoryBytes -= followed.countedBytes;
    followed.countedBytes = 0;
  }
}

const describePeer = (peer: Peer): string => peer.remote.nodeId || peer.remote.address || peer.id;
