import type { Handlers, Peer, RequestContext } from "@holdfast/connection";
import {
  fromWirePosition,
  type Log,
  type LogEntry,
  type Position,
  toWirePosition,
} from "@holdfast/coordination";
import { type Clock, type Logger, OverloadedError, TaskGroup } from "@holdfast/kernel";
import {
  followJob,
  type InputOf,
  type JobStatus,
  type Leader,
  type OutputOf,
  type submitJob,
  unfollowJob,
} from "@holdfast/protocol/contract";
import type { z } from "zod";
import { jobStream } from "../model/job-stream.ts";
import { TERMINAL_STATUSES } from "../model/job-table.ts";
import { FeedSubscription, type FeedTarget } from "./feed-subscription.ts";
import { type FollowedTail, JobTails } from "./job-tails.ts";
import { PushLane } from "./push-lane.ts";
import { ResultWatchers } from "./result-watchers.ts";

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
const PUSH_MAX_BYTES = 128 * 1024;
/** How often it is checked that each tail is fed from the right side. */
const SOURCE_CHECK_MS = 2_000;

interface ConnectedPeer {
  readonly peer: Peer;
  readonly lane: PushLane;
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
  readonly #tails: JobTails;
  readonly #peers = new Map<Peer, ConnectedPeer>();
  readonly #resultWatchers = new ResultWatchers();
  readonly #target: FeedTarget;
  #pushedEvents = 0;

  constructor(options: EventFeedOptions) {
    this.#options = options;
    this.#tasks = new TaskGroup({ logger: options.logger });
    this.#tails = new JobTails({
      log: options.log,
      leads: options.leads,
      clock: options.clock,
      logger: options.logger,
      tasks: this.#tasks,
      entryMaxCount: options.tailEntryMaxCount ?? 500,
      memoryMaxBytes: options.memoryMaxBytes ?? 64 * 1024 * 1024,
      idleMaxCount: options.idleTailMaxCount ?? 2_000,
    });
    this.#target = {
      log: options.log,
      clock: options.clock,
      tasks: this.#tasks,
      logger: options.logger,
      chunk: { entryMaxCount: PUSH_MAX_COUNT, sizeMaxBytes: options.pushMaxBytes ?? PUSH_MAX_BYTES },
      onPaused: (subscription) => {
        this.#peers.get(subscription.lane.peer)?.paused.add(subscription);
      },
      onPushed: (count) => {
        this.#pushedEvents += count;
      },
      onEnded: (subscription) => this.#remove(subscription),
    };
    this.#tasks.spawn("feed-source-check", async (signal) => {
      for (;;) {
        await options.clock.sleep(SOURCE_CHECK_MS, { signal });
        this.#tails.chooseSources();
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
    let followed = this.#tails.open(input.jobId);
    let head: Position;
    try {
      head =
        job.head ?? (await this.#options.log.bounds(jobStream(input.jobId), { signal: context.signal })).head;
    } catch (error) {
      this.#tails.release(followed);
      throw error;
    }
    // Memory may have been freed meanwhile, and the tail with it.
    followed = this.#tails.open(input.jobId);
    if (isTerminal) followed.tail.markEnded(head);
    else followed.tail.advance({ head });
    if (!context.peer.isOpen || this.#tasks.signal.aborted) {
      this.#tails.release(followed);
      return { status: job.status, head: toWirePosition(head), leader: job.leader };
    }
    this.#subscribe(connected, followed, {
      jobId: input.jobId,
      subscriptionId: input.subscriptionId,
      together: input.together ?? false,
      position: input.after === undefined ? undefined : fromWirePosition(input.after),
    });
    return { status: job.status, head: toWirePosition(head), leader: job.leader };
  }

  /**
   * Follows a job that was just stored and is led here, for the connection that submitted it. False when the
   * connection is gone or follows too many jobs: nothing was begun, it may ask with `jobs.follow`.
   */
  followNew(
    jobId: string,
    follow: NonNullable<z.output<typeof submitJob.input>["follow"]>,
    job: { readonly start: Position; readonly peer: Peer },
  ): boolean {
    const { peer, start } = job;
    if (!peer.isOpen || this.#tasks.signal.aborted) return false;
    const connected = this.#connected(peer);
    const { subscriptionId } = follow;
    const count = connected.subscriptions.size + this.#resultWatchers.countOf(peer);
    if (count >= this.#subscriptionLimit(peer)) return false;
    if (follow.want === "result") {
      this.#resultWatchers.add(jobId, { lane: connected.lane, subscriptionId });
      return true;
    }
    const followed = this.#tails.open(jobId);
    if (followed.tail.head === undefined) followed.tail.advance({ head: start });
    this.#subscribe(connected, followed, { jobId, subscriptionId, together: true, position: start });
    return true;
  }

  #subscribe(
    connected: ConnectedPeer,
    followed: FollowedTail,
    options: {
      readonly jobId: string;
      readonly subscriptionId: string;
      readonly together: boolean;
      readonly position: Position | undefined;
    },
  ): void {
    // Another follow with this id may have run while this one waited.
    connected.subscriptions.get(options.subscriptionId)?.close();
    const subscription = new FeedSubscription(this.#target, {
      ...options,
      lane: connected.lane,
      tail: followed.tail,
    });
    connected.subscriptions.set(options.subscriptionId, subscription);
    this.#tails.attach(followed, subscription);
    subscription.serve();
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
    this.#tails.publish(jobId, entries);
    this.#resultWatchers.publish(jobId, entries);
  }

  /** Says that this node began or ceased to lead the job. */
  leadershipChanged(jobId: string): void {
    const followed = this.#tails.get(jobId);
    if (followed !== undefined) this.#tails.chooseSource(followed);
    if (!this.#options.leads(jobId)) this.#resultWatchers.end(jobId);
  }

  /** Drops what is known of a job that was deleted; its watchers are closed without `end`. */
  forget(jobId: string): void {
    this.#resultWatchers.end(jobId);
    const followed = this.#tails.get(jobId);
    if (followed === undefined) return;
    for (const subscription of [...followed.subscriptions]) subscription.close();
    this.#tails.release(followed, { evenIfLed: true });
  }

  stats(): EventFeedStats {
    let paused = 0;
    let subscriptions = 0;
    for (const connected of this.#peers.values()) {
      paused += connected.paused.size;
      subscriptions += connected.subscriptions.size + this.#resultWatchers.countOf(connected.peer);
    }
    return {
      followedJobs: this.#tails.followedCount,
      subscriptions,
      pausedSubscriptions: paused,
      memoryBytes: this.#tails.memoryBytes,
      pushedEvents: this.#pushedEvents,
    };
  }

  /** Stops all tails; subscriptions end silently (their connections close with the node). Idempotent. */
  async close(): Promise<void> {
    for (const connected of this.#peers.values()) {
      for (const subscription of [...connected.subscriptions.values()]) subscription.close();
    }
    this.#tails.close();
    await this.#tasks.stop();
    this.#peers.clear();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #connected(peer: Peer): ConnectedPeer {
    const known = this.#peers.get(peer);
    if (known !== undefined) return known;
    const resume = (): void => {
      const waiting = [...connected.paused];
      connected.paused.clear();
      for (const subscription of waiting) subscription.serve();
    };
    const lane = new PushLane(peer, {
      bufferedMaxBytes: this.#options.bufferedMaxBytes ?? 256 * 1024,
      pushMaxBytes: this.#options.pushMaxBytes ?? PUSH_MAX_BYTES,
      onFlushed: resume,
    });
    const connected: ConnectedPeer = { peer, lane, subscriptions: new Map(), paused: new Set() };
    this.#peers.set(peer, connected);
    const stopListening = peer.onDrain(() => {
      lane.flush();
      resume();
    });
    peer.onClose(() => {
      stopListening();
      for (const subscription of [...connected.subscriptions.values()]) subscription.close();
      this.#resultWatchers.forgetPeer(peer);
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

  #remove(subscription: FeedSubscription): void {
    const connected = this.#peers.get(subscription.lane.peer);
    if (connected?.subscriptions.get(subscription.subscriptionId) === subscription) {
      connected.subscriptions.delete(subscription.subscriptionId);
    }
    connected?.paused.delete(subscription);
    this.#tails.detach(subscription);
  }
}

const describePeer = (peer: Peer): string => peer.remote.nodeId || peer.remote.address || peer.id;
