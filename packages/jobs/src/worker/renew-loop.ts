import type { Clock, Logger } from "@holdfast/kernel";
import { renewTasks } from "@holdfast/protocol/contract";
import { ClaimLostError, ShardCancelledError } from "../errors.ts";
import type { HeldShard, HeldShards } from "./held-shards.ts";
import type { ManagerLinks } from "./manager-links.ts";
import { attemptName } from "./shard-failure.ts";

export interface RenewLoopOptions {
  readonly nodeId: string;
  readonly links: ManagerLinks;
  readonly held: HeldShards;
  readonly clock: Clock;
  readonly logger: Logger;
  /** How long after the end of its lease an attempt goes on when no manager can be reached, milliseconds. */
  readonly orphanGraceMs: number;
}

/** The contract's bound. */
const RENEW_MAX_COUNT = 10_000;
/** Before the first manager has said how long a claim holds. */
const LEASE_DEFAULT_MS = 5_000;

/**
 * Renews every claim at a third of the lease, at any manager that answers, and stops attempts whose claim is
 * lost or cancelled. An attempt whose outcome is still on its way stays renewed.
 * @throws signal.reason when aborted.
 */
export const runRenewLoop = async (options: RenewLoopOptions, signal: AbortSignal): Promise<void> => {
  const { links, clock } = options;
  for (;;) {
    await options.held.whenBusy({ signal });
    const leaseMs = links.cadence?.taskLeaseMs ?? LEASE_DEFAULT_MS;
    await clock.sleep(leaseMs / 3, { signal });
    const claims = [...options.held.all];
    for (let index = 0; index < claims.length; index += RENEW_MAX_COUNT) {
      await renew(options, claims.slice(index, index + RENEW_MAX_COUNT), leaseMs, signal);
    }
    stopOrphans(options);
  }
};

/** Tries every ready manager once; the next turn of the loop tries again. */
const renew = async (
  { nodeId, links, held, clock, logger }: RenewLoopOptions,
  claims: readonly HeldShard[],
  leaseMs: number,
  signal: AbortSignal,
): Promise<void> => {
  const tasks = claims.map(({ assignment: { taskId, token } }) => ({ taskId, token }));
  for (const { peer, nodeId: manager } of links.ready) {
    const askedAt = clock.monotonicNow();
    try {
      const { outcomes } = await peer.request(
        renewTasks,
        { nodeId, tasks },
        { signal, timeoutMs: leaseMs / 3 },
      );
      claims.forEach((claim, index) => {
        const outcome = outcomes[index];
        if (outcome === "renewed") claim.leaseEndsAt = askedAt + leaseMs;
        else if (outcome !== undefined) onEnded(held, claim, outcome);
      });
      return;
    } catch (error) {
      signal.throwIfAborted();
      logger.debug({ err: error, manager }, "renewal failed; asking the next manager");
    }
  }
};

const onEnded = (held: HeldShards, claim: HeldShard, outcome: "lost" | "cancelled"): void => {
  const what = attemptName(claim.assignment);
  // An outcome on its way gets its own answer; a queue that has it accepted already calls the claim lost.
  if (claim.state === "reporting") return;
  held.stop(
    claim,
    outcome === "lost"
      ? new ClaimLostError(what, "its lease ended before it was renewed")
      : new ShardCancelledError(what, ""),
  );
};

const stopOrphans = ({ held, clock, orphanGraceMs, logger }: RenewLoopOptions): void => {
  const now = clock.monotonicNow();
  for (const claim of [...held.all]) {
    if (claim.state === "reporting" || now < claim.leaseEndsAt + orphanGraceMs) continue;
    const what = attemptName(claim.assignment);
    logger.warn({ task: claim.assignment.taskId }, `${what} is stopped: no manager renewed its claim`);
    held.stop(
      claim,
      new ClaimLostError(what, `no manager renewed it for ${orphanGraceMs} ms after its lease`),
    );
  }
};
