import {
  type Abortable,
  type Clock,
  childController,
  type Logger,
  type Random,
  silentLogger,
  systemClock,
  systemRandom,
} from "@holdfast/kernel";
import type { Json } from "../json.ts";
import { checkGrant } from "./grant-checks.ts";
import { type HeldLease, LeaseKeeper } from "./lease-keeper.ts";
import type { LeaseInfo, Leases } from "./leases.ts";

/** One time in office. */
export interface Term {
  /** Larger than that of every earlier leader: send it with every write of the leader. */
  readonly token: bigint;
  /** Aborts when the lease is lost (LeaseLostError) or the candidate gives up. Stop at once: another may lead. */
  readonly signal: AbortSignal;
}

export interface ElectionOptions extends Abortable {
  readonly leases: Leases<never>;
  /** What is led; the name of the lease. */
  readonly name: string;
  /** Who asks, for people. */
  readonly owner: string;
  readonly metadata?: Json;
  /** A dead leader is replaced after at most this and one campaign pause. Default 10_000. */
  readonly ttlMs?: number;
  /**
   * What to do in office. When it resolves, the office is given back and campaigned for again; when it
   * throws, too, after a pause. It must end soon after its signal aborts.
   */
  readonly lead: (term: Term) => Promise<void>;
  /** Told who leads whenever that was seen to change, this candidate included. Must not throw. */
  readonly onLeader?: (leader: { readonly owner: string; readonly token: bigint }) => void;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly logger?: Logger;
}

/**
 * Campaigns for an office, leads, and campaigns again, until the signal aborts; then it resigns and throws
 * signal.reason. A store that does not answer is asked again; whoever leads then stops by its own clock.
 *
 * At most one candidate leads by the store's clock. Because a paused leader may not know that its time is
 * over, only writes that carry `token` and are checked against it are safe.
 *
 * @throws InvalidInputError, PayloadTooLargeError at once for what no lease could be granted with.
 */
export const electLeader = async (options: ElectionOptions): Promise<never> => {
  const { name, owner, lead, onLeader, signal, leases } = options;
  const { clock = systemClock, random = systemRandom, logger = silentLogger, ttlMs = 10_000 } = options;
  checkGrant(name, { owner, ttlMs, metadata: options.metadata });
  await using keeper = new LeaseKeeper({ leases, ttlMs, clock, random, logger });
  let seen: bigint | undefined;
  const announce = (leader: LeaseInfo | HeldLease): void => {
    if (leader.token === seen) return;
    seen = leader.token;
    onLeader?.({ owner: leader.owner, token: leader.token });
  };
  for (;;) {
    signal?.throwIfAborted();
    let pauseMs = ttlMs / 3;
    try {
      const outcome = await keeper.hold(name, { owner, signal, metadata: options.metadata });
      if (outcome.kind === "granted") {
        await using lease = outcome.lease;
        announce(lease);
        const term = childController(lease.signal, signal);
        try {
          await lead({ token: lease.token, signal: term.signal });
        } finally {
          term.dispose();
        }
        // Who gave the office back lets others ask first; who lost it asks again at once.
        if (lease.signal.aborted) pauseMs = 0;
      } else {
        announce(outcome.holder);
        // A released lease shows at the next look; a dead leader's at its end.
        pauseMs = Math.min(pauseMs, outcome.holder.remainingMs + 1);
      }
    } catch (err) {
      if (signal?.aborted) throw signal.reason;
      pauseMs = ttlMs / 3;
      logger.warn({ err, office: name, owner }, "campaign or term ended by an error; campaigning again");
    }
    // Jitter keeps candidates from asking all at once, and lets another one win after a leader that fails.
    await clock.sleep(pauseMs * (0.5 + random.next() / 2), { signal });
  }
};
