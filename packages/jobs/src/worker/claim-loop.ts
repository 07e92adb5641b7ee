import type { Clock, Logger, Random } from "@holdfast/kernel";
import { isHoldfastError } from "@holdfast/kernel";
import { claimTasks } from "@holdfast/protocol/contract";
import { exponentialBackoff } from "@holdfast/resilience";
import type { HeldShards } from "./held-shards.ts";
import type { ManagerLinks, ReadyManager } from "./manager-links.ts";

export interface ClaimLoopOptions {
  readonly nodeId: string;
  readonly links: ManagerLinks;
  readonly held: HeldShards;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** How long a manager may keep a claim waiting for work, milliseconds. */
  readonly claimWaitMs: number;
}

/** An answer may take this much longer than the wait that was asked for. */
const ANSWER_MARGIN_MS = 5_000;
/** The contract's bound. */
const CLAIM_MAX_COUNT = 1_000;

const backoff = exponentialBackoff({ baseMs: 100, capMs: 5_000 });

/**
 * Keeps the cores busy: reserves what is free, asks a manager for that much work and waits there until some
 * comes. Goes to the next manager when one fails.
 *
 * A claim whose answer is lost is not lost: its lease lapses and the queue gives the shards out again.
 * @throws signal.reason when aborted.
 */
export const runClaimLoop = async (options: ClaimLoopOptions, signal: AbortSignal): Promise<void> => {
  const { links, held, clock, random, logger } = options;
  let manager: ReadyManager | undefined;
  let failureCount = 0;
  while (!signal.aborted) {
    const room = await held.reserve({ signal });
    const wantedCount = Math.min(room, CLAIM_MAX_COUNT);
    if (room > wantedCount) held.unreserve(room - wantedCount);
    try {
      manager = await readyManager(links, manager, signal);
      await claim(options, manager, wantedCount, signal);
      failureCount = 0;
    } catch (error) {
      signal.throwIfAborted();
      failureCount += 1;
      const askedMs = isHoldfastError(error) ? (error.retryAfterMs ?? 0) : 0;
      const delayMs = Math.max(askedMs, backoff.delayMs(failureCount, undefined, random));
      logger.debug(
        { err: error, manager: manager?.nodeId, delayMs },
        "claim failed; asking the next manager",
      );
      manager = links.next(manager?.nodeId);
      await clock.sleep(delayMs, { signal });
    } finally {
      held.unreserve(wantedCount);
    }
  }
};

const readyManager = async (
  links: ManagerLinks,
  current: ReadyManager | undefined,
  signal: AbortSignal,
): Promise<ReadyManager> => {
  for (;;) {
    const still = links.ready.find(({ peer }) => peer === current?.peer);
    const manager = still ?? links.next();
    if (manager !== undefined) return manager;
    await links.whenChanged({ signal });
  }
};

const claim = async (
  { nodeId, links, held, clock, claimWaitMs }: ClaimLoopOptions,
  { peer }: ReadyManager,
  maxCount: number,
  signal: AbortSignal,
): Promise<void> => {
  const leaseMs = links.cadence?.taskLeaseMs ?? 0;
  const { assignments } = await peer.request(
    claimTasks,
    { nodeId, maxCount, waitMs: claimWaitMs },
    { signal, timeoutMs: claimWaitMs + ANSWER_MARGIN_MS },
  );
  // The manager claimed at some moment of the wait; the first renewal, a third of a lease from now, settles it.
  if (assignments.length > 0) held.take(assignments, { leaseEndsAt: clock.monotonicNow() + leaseMs });
};
