import type { Peer } from "@holdfast/connection";
import type { WirePosition } from "@holdfast/coordination";
import { ClosedError, childController } from "@holdfast/kernel";
import { followJob as followRequest, type JobEvent, unfollowJob } from "@holdfast/protocol/contract";
import type { CallerCounters } from "./caller-counters.ts";
import type { CallerOptions } from "./caller-options.ts";
import { EventBuffer } from "./event-buffer.ts";
import type { RequestRouter } from "./request-router.ts";
import type { Subscriptions } from "./subscriptions.ts";
import { isTransient } from "./transient.ts";

/** One item of a followed job. */
export type FollowItem =
  | { readonly kind: "event"; readonly position: WirePosition; readonly event: JobEvent }
  /** History before this point is gone: drop what you have and go on from the events that follow. */
  | { readonly kind: "reset"; readonly reason: "trimmed" | "epoch-changed" | "ahead-of-head" }
  /** The connection was lost or came back. No event is missed or repeated by it. */
  | { readonly kind: "connection"; readonly state: "lost" | "restored" };

export interface FollowRequest {
  /** Go on right after this position. Default: from the beginning. */
  readonly after?: WirePosition | undefined;
  readonly signal?: AbortSignal | undefined;
  /** A feed that a node has begun already, with the answer to a submission. Takes the place of `after`. */
  readonly begun?: BegunFeed | undefined;
}

/** A subscription that waits for its pushes before anybody iterates over them. */
export interface OpenFeed {
  readonly subscriptionId: string;
  readonly buffer: EventBuffer;
  /** When it will not be followed after all. */
  close(): void;
}

export interface BegunFeed {
  readonly feed: OpenFeed;
  /** Who pushes. */
  readonly peer: Peer;
}

/** Makes a place for the pushes of a job whose log is followed from `after` on (default: the beginning). */
export const openFeed = (
  { options, subscriptions }: Pick<FollowParts, "options" | "subscriptions">,
  after: WirePosition | undefined,
): OpenFeed => {
  const buffer = new EventBuffer({
    clock: options.clock,
    after,
    countMax: options.bufferMaxCount,
    bytesMax: options.bufferMaxBytes,
  });
  const subscriptionId = subscriptions.add(buffer);
  return { subscriptionId, buffer, close: () => subscriptions.remove(subscriptionId) };
};

export interface FollowParts {
  readonly options: CallerOptions;
  readonly router: RequestRouter;
  readonly subscriptions: Subscriptions;
  readonly counters: CallerCounters;
  /** Aborts when the caller is closed. */
  readonly closed: AbortSignal;
}

/** A follow that is under way on one connection. */
interface Session {
  readonly peer: Peer;
  isLost: boolean;
  readonly stopListening: () => void;
}

/**
 * The events of a job in batches as they came, through reconnects and changes of node, without gap or repeat.
 *
 * Runs as long as somebody iterates. When the connection breaks it yields `lost`, follows again from its
 * position at whichever node answers (for as long as it takes), yields `restored` and goes on. A slow consumer
 * costs no memory: beyond the buffer's bound the watch stops taking events and follows again later. Ends after
 * the job's last event.
 * @throws JobNotFoundError's code when no node knows the job; the last transient error when no node answered the
 * first time within the client's deadline; ClosedError when the client is closed; signal.reason when aborted.
 */
export async function* followJob(
  parts: FollowParts,
  jobId: string,
  request: FollowRequest,
): AsyncGenerator<readonly FollowItem[], void, undefined> {
  const { options, subscriptions, counters } = parts;
  const scope = childController(request.signal, parts.closed);
  const unfollow = (of: Session | undefined): void => {
    if (of === undefined || of.isLost || !of.peer.isOpen) return;
    of.peer.request(unfollowJob, { subscriptionId }, { timeoutMs: 2_000 }).catch(() => undefined);
  };
  const feed = request.begun?.feed ?? openFeed(parts, request.after);
  const { buffer, subscriptionId } = feed;
  buffer.onFull = () => unfollow(session);
  let session: Session | undefined;
  let followedFrom: WirePosition | undefined;
  let fruitlessCount = 0;
  let isOrphaned = false;
  counters.add("watches");
  try {
    session =
      request.begun === undefined
        ? await follow(parts, { jobId, subscriptionId, buffer, signal: scope.signal })
        : sessionOn(request.begun.peer, buffer);
    for (;;) {
      for (let items = buffer.takeAll(); items.length > 0; items = buffer.takeAll()) {
        for (const item of items) if (item.kind === "event") counters.addEvent(item.event);
        yield items;
        scope.signal.throwIfAborted();
      }
      if (buffer.isEnded) return;
      if (session.isLost) {
        isOrphaned = true;
        counters.add("orphanedWatches");
        yield [{ kind: "connection", state: "lost" }];
        session = await followAgain(parts, { jobId, subscriptionId, buffer, signal: scope.signal });
        isOrphaned = false;
        counters.add("orphanedWatches", -1);
        yield [{ kind: "connection", state: "restored" }];
        continue;
      }
      if (!buffer.needsFollow) {
        const silenceMs = subscriptions.silenceMs(options.silenceMs);
        const wake = await buffer.wait({ silenceMs, signal: scope.signal });
        if (wake === "changed") continue;
      }
      // A gap, a consumer that has caught up, or silence: a follow from the position mends each of them. One
      // that does not get us on is not repeated without a pause.
      fruitlessCount = buffer.needsFollow && buffer.position === followedFrom ? fruitlessCount + 1 : 0;
      followedFrom = buffer.position;
      if (fruitlessCount > 1) {
        const pauseMs = Math.min(100 * 2 ** Math.min(fruitlessCount, 10), options.backoffMaxMs);
        await options.clock.sleep(pauseMs, { signal: scope.signal });
      }
      const lost: Session = session;
      session = await follow(parts, { jobId, subscriptionId, buffer, signal: scope.signal }).catch(
        (error: unknown) => {
          if (scope.signal.aborted || !isTransient(error)) throw error;
          return { ...lost, isLost: true };
        },
      );
      lost.stopListening();
      if (session.peer !== lost.peer) unfollow(lost);
    }
  } finally {
    counters.add("watches", -1);
    if (isOrphaned) counters.add("orphanedWatches", -1);
    feed.close();
    session?.stopListening();
    if (!buffer.isEnded) unfollow(session);
    scope.dispose();
  }
}

interface SessionRequest {
  readonly jobId: string;
  readonly subscriptionId: string;
  readonly buffer: EventBuffer;
  readonly signal: AbortSignal;
}

const follow = async (parts: FollowParts, request: SessionRequest): Promise<Session> => {
  const { jobId, subscriptionId, buffer, signal } = request;
  // Before asking, because pushes may come before the answer.
  buffer.reopen();
  const { peer } = await parts.router.ask(
    followRequest,
    {
      jobId,
      subscriptionId,
      together: true,
      ...(buffer.position === undefined ? {} : { after: buffer.position }),
    },
    { jobId, signal },
  );
  return sessionOn(peer, buffer);
};

const sessionOn = (peer: Peer, buffer: EventBuffer): Session => {
  let stopListening: () => void = () => undefined;
  const session: Session = { peer, isLost: false, stopListening: () => stopListening() };
  stopListening = peer.onClose(() => {
    session.isLost = true;
    buffer.wake();
  });
  return session;
};

/** Follows again for as long as it takes: only a final refusal or an abort ends it. */
const followAgain = async (parts: FollowParts, request: SessionRequest): Promise<Session> => {
  for (;;) {
    try {
      return await follow(parts, request);
    } catch (error) {
      if (request.signal.aborted || !isTransient(error)) throw error;
      if (error instanceof ClosedError) throw error;
      parts.options.logger.warn(
        { err: error, jobId: request.jobId },
        "no node answers a watch that lost its connection; trying again",
      );
    }
  }
};
