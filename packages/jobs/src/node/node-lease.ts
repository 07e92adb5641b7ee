import type { LeaseInfo, Leases } from "@holdfast/coordination";
import {
  type Abortable,
  type Clock,
  type Logger,
  type Random,
  randomHex,
  TaskGroup,
  withTimeout,
} from "@holdfast/kernel";
import type { Leader } from "@holdfast/protocol/contract";

export interface NodeLeaseOptions {
  readonly leases: Leases<unknown>;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly nodeId: string;
  readonly role: "gate" | "manager";
  /** Where others reach this node. */
  readonly address: string;
  /** How long the node counts as alive without a renewal, milliseconds; it renews every third of that. */
  readonly ttlMs: number;
  /** The lease is gone: stop deciding at once. Called before a new one is asked for. Must not throw. */
  readonly onLost: () => void;
  /** Leadership of the cluster was won or lost. Must not throw. */
  readonly onLeaderChanged?: (isLeader: boolean) => void;
}

/** A node that holds its lease now. */
export interface LiveNode {
  /** The node and its incarnation: what rows name as their owner. */
  readonly ownerId: string;
  readonly nodeId: string;
  readonly role: string;
  readonly address: string;
  /** Until its lease ends if it is not renewed, milliseconds, when it was asked for. */
  readonly remainingMs: number;
}

const NODE_PREFIX = "node:";
const LEADER_LEASE = "leader";
/** Far more nodes than one store serves. */
const NODES_MAX_COUNT = 10_000;
const RETRY_MIN_MS = 50;

interface Held {
  readonly ownerId: string;
  readonly token: bigint;
  /** On the monotonic clock, counted from when the lease was asked for. */
  validUntil: number;
}

/**
 * Keeps a node alive in its store and lets it compete for the leadership of its cluster.
 *
 * Each time it takes its lease the node is a new incarnation with a new owner id, so what an earlier one owned
 * is never mistaken for its own. A lease that could not be renewed in time counts as lost by this node's own
 * clock before it ends by the store's; then the node starts over. Leadership is a second lease, renewed in the
 * same round trip; when it is lost the node goes on as a follower.
 */
export class NodeLease implements AsyncDisposable {
  readonly #options: NodeLeaseOptions;
  readonly #tasks: TaskGroup;
  #held: Held | undefined;
  #leader: { readonly token: bigint; validUntil: number } | undefined;
  #knownLeader: Leader | undefined;
  #leaderEndsInMs = Number.POSITIVE_INFINITY;
  #competes = true;

  constructor(options: NodeLeaseOptions) {
    this.#options = options;
    this.#tasks = new TaskGroup({ logger: options.logger });
  }

  /** The owner id of the incarnation that holds the lease, or undefined while there is none. */
  get ownerId(): string | undefined {
    return this.#isValid(this.#held) ? this.#held?.ownerId : undefined;
  }

  get isLeader(): boolean {
    return this.ownerId !== undefined && this.#isValid(this.#leader);
  }

  /** The fence of the leadership, while this node has it. */
  get leaderFence(): bigint | undefined {
    return this.isLeader ? this.#leader?.token : undefined;
  }

  /** Who led the cluster when last looked; this node itself while it leads. */
  get knownLeader(): Leader | undefined {
    const { nodeId, address } = this.#options;
    const fence = this.leaderFence;
    return fence === undefined ? this.#knownLeader : { nodeId, address, fence: fence.toString() };
  }

  /**
   * Takes the lease, tries for the leadership once, and keeps both up from then on.
   * @throws what the store throws; nothing is held then, and it may be called again.
   */
  async start(options: Abortable = {}): Promise<void> {
    await this.#take(options);
    await this.#tryToLead(options);
    this.#tasks.spawn("node lease", (signal) => this.#keep(signal));
  }

  /** The nodes that hold their lease now, ordered by owner id. */
  async live(options: Abortable = {}): Promise<readonly LiveNode[]> {
    const infos = await this.#options.leases.list(NODE_PREFIX, { ...options, limit: NODES_MAX_COUNT });
    return infos.map(toLiveNode);
  }

  /** Gives up the leadership and does not compete for it any more. */
  async resign(): Promise<void> {
    this.#competes = false;
    const leader = this.#leader;
    this.#setLeader(undefined);
    if (leader !== undefined) {
      await this.#options.leases.release({ name: LEADER_LEASE, token: leader.token });
    }
  }

  /** Stops renewing. With `release` (the default) others see at once that the node is gone. Idempotent. */
  async stop(options: { readonly release?: boolean } = {}): Promise<void> {
    await this.#tasks.stop();
    this.#competes = false;
    const held = this.#held;
    const leader = this.#leader;
    this.#held = undefined;
    this.#setLeader(undefined);
    if (options.release === false) return;
    try {
      if (leader !== undefined) {
        await this.#options.leases.release({ name: LEADER_LEASE, token: leader.token });
      }
      if (held !== undefined) {
        await this.#options.leases.release({ name: NODE_PREFIX + held.ownerId, token: held.token });
      }
    } catch (error) {
      this.#options.logger.warn({ err: error }, "the node's lease could not be released; it ends by itself");
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #keep(signal: AbortSignal): Promise<void> {
    const { clock, ttlMs, logger, nodeId } = this.#options;
    for (;;) {
      // A follower looks again when the leader's lease would end, if that is sooner.
      await clock.sleep(Math.min(ttlMs / 3, this.#leaderEndsInMs + 1), { signal });
      let waitMs = RETRY_MIN_MS;
      for (;;) {
        try {
          const limit = { operation: "renewing the node's lease", timeoutMs: ttlMs / 3, signal };
          await withTimeout(clock, limit, (timely) => this.#refresh({ signal: timely }));
          break;
        } catch (error) {
          if (signal.aborted) return;
          logger.warn({ err: error, nodeId, retryInMs: waitMs }, "the node's lease could not be renewed yet");
          if (this.#held !== undefined && !this.#isValid(this.#held)) this.#lose();
          await clock.sleep(waitMs, { signal });
          waitMs = Math.min(waitMs * 2, ttlMs / 3);
        }
      }
    }
  }

  /** One renewal of what is held; takes anew what was lost. */
  async #refresh(options: Abortable): Promise<void> {
    const { clock, leases, ttlMs } = this.#options;
    const held = this.#held;
    if (held === undefined || !this.#isValid(held)) {
      if (held !== undefined) this.#lose();
      await this.#take(options);
      await this.#tryToLead(options);
      return;
    }
    const leader = this.#leader;
    const askedAt = clock.monotonicNow();
    const names = [
      { name: NODE_PREFIX + held.ownerId, token: held.token },
      ...(leader === undefined ? [] : [{ name: LEADER_LEASE, token: leader.token }]),
    ];
    const [isHeld, isLeading] = await leases.renew(names, { ...options, ttlMs });
    if (isHeld !== true) {
      this.#lose();
      await this.#take(options);
    } else {
      held.validUntil = askedAt + ttlMs;
      if (leader !== undefined && leader === this.#leader) {
        if (isLeading === true) leader.validUntil = askedAt + ttlMs;
        else this.#setLeader(undefined);
      }
    }
    if (this.#leader === undefined) await this.#tryToLead(options);
  }

  async #take(options: Abortable): Promise<void> {
    const { clock, leases, random, ttlMs, nodeId, role, address, logger } = this.#options;
    const ownerId = `${nodeId}#${randomHex(random, 8)}`;
    const askedAt = clock.monotonicNow();
    const outcome = await leases.grant(NODE_PREFIX + ownerId, {
      ...options,
      owner: ownerId,
      ttlMs,
      metadata: { nodeId, role, address },
      requestId: ownerId,
    });
    // The name is random, so nobody else can hold it.
    if (outcome.kind === "held")
      throw new Error(`the lease of ${ownerId} is held by ${outcome.holder.owner}`);
    this.#held = { ownerId, token: outcome.grant.token, validUntil: askedAt + ttlMs };
    logger.info({ nodeId, ownerId }, "the node holds its lease");
  }

  async #tryToLead(options: Abortable): Promise<void> {
    const { clock, leases, ttlMs, nodeId, address, logger } = this.#options;
    const ownerId = this.ownerId;
    if (!this.#competes || ownerId === undefined) return;
    this.#leaderEndsInMs = Number.POSITIVE_INFINITY;
    const askedAt = clock.monotonicNow();
    const outcome = await leases.grant(LEADER_LEASE, {
      ...options,
      owner: ownerId,
      ttlMs,
      metadata: { nodeId, address },
      requestId: ownerId,
    });
    if (outcome.kind === "held") {
      this.#knownLeader = toLeader(outcome.holder);
      this.#leaderEndsInMs = outcome.holder.remainingMs;
      return;
    }
    if (!this.#competes || this.ownerId !== ownerId) {
      await leases.release({ name: LEADER_LEASE, token: outcome.grant.token });
      return;
    }
    logger.info({ nodeId, fence: outcome.grant.token.toString() }, "the node leads its cluster");
    this.#setLeader({ token: outcome.grant.token, validUntil: askedAt + ttlMs });
  }

  #lose(): void {
    const { logger, nodeId } = this.#options;
    logger.error({ nodeId, ownerId: this.#held?.ownerId }, "the node's lease is lost; its jobs go to others");
    this.#held = undefined;
    this.#setLeader(undefined);
    this.#options.onLost();
  }

  #setLeader(leader: { readonly token: bigint; validUntil: number } | undefined): void {
    const before = this.#leader !== undefined;
    this.#leader = leader;
    if (before !== (leader !== undefined)) this.#options.onLeaderChanged?.(leader !== undefined);
  }

  #isValid(lease: { readonly validUntil: number } | undefined): boolean {
    return lease !== undefined && this.#options.clock.monotonicNow() < lease.validUntil;
  }
}

/** The node behind an owner id: the same for all its incarnations. */
export const nodeIdOf = (ownerId: string): string => ownerId.split("#", 1)[0] ?? ownerId;

const toLiveNode = (info: LeaseInfo): LiveNode => {
  const metadata = textFields(info.metadata);
  return {
    ownerId: info.owner,
    nodeId: metadata["nodeId"] ?? nodeIdOf(info.owner),
    role: metadata["role"] ?? "",
    address: metadata["address"] ?? "",
    remainingMs: info.remainingMs,
  };
};

/** A lease that is about to end is looked at again no sooner than this. */
const LOOK_MIN_MS = 20;

/**
 * How long to wait before looking for dead nodes again: `everyMs`, or just until the next lease of another node would
 * end, if that is sooner. While nodes live they renew long before, so this costs nothing; when one dies it is noticed
 * the moment its lease ends.
 */
export const nextLookMs = (
  live: readonly LiveNode[],
  options: { readonly self: string | undefined; readonly everyMs: number },
): number => {
  const ends = live
    .filter(({ ownerId }) => ownerId !== options.self)
    .map(({ remainingMs }) => remainingMs + 1);
  return Math.min(options.everyMs, Math.max(LOOK_MIN_MS, Math.min(...ends)));
};

const toLeader = (info: LeaseInfo): Leader => {
  const metadata = textFields(info.metadata);
  return {
    nodeId: metadata["nodeId"] ?? nodeIdOf(info.owner),
    address: metadata["address"] ?? "",
    fence: info.token.toString(),
  };
};

const textFields = (metadata: unknown): Readonly<Record<string, string | undefined>> =>
  typeof metadata === "object" && metadata !== null ? (metadata as Record<string, string>) : {};
