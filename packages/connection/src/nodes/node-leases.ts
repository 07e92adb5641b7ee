import { type Abortable, type Clock, childController, deferred, type Timer } from "@holdfast/kernel";
import { PoolClosedError, PoolExhaustedError } from "../errors.ts";
import type { WirePeer } from "../link/wire-peer.ts";
import type { PoolLease } from "../pool/pool-lease.ts";
import type { Node } from "./node.ts";
import { NodeLease } from "./node-lease.ts";
import type { NodeList } from "./node-list.ts";

export interface NodeLeasesOptions {
  readonly clock: Clock;
  readonly nodes: NodeList;
  /** Of requests over a lease, milliseconds. */
  readonly requestTimeoutMs: number;
  readonly isClosed: () => boolean;
}

/** Connections of their own for those who need one, from whichever node has one first. */
export class NodeLeases {
  readonly #options: NodeLeasesOptions;

  constructor(options: NodeLeasesOptions) {
    this.#options = options;
  }

  /**
   * Waits `timeoutMs` at most, however many nodes there are.
   * @throws PoolExhaustedError, NoHealthyNodesError, PoolClosedError; what connecting throws when no node can be
   * reached; signal.reason.
   */
  async acquire(options: Abortable & { readonly timeoutMs: number }): Promise<NodeLease> {
    const { nodes, requestTimeoutMs } = this.#options;
    options.signal?.throwIfAborted();
    const { lease, node } = await new LeaseWait(this.#options, options).served();
    const peer = lease.resource;
    node.inFlightCount += 1;
    const owner = {
      onAnswered: () => nodes.onAnswered(node),
      onFailed: (error: unknown) => nodes.onFailed(node, error),
      reauthenticate: (limit: Abortable) => node.reauthenticate(peer, limit),
      onEnded: () => {
        node.inFlightCount -= 1;
        // It may have ended without a request, which leaves the trial of the node without a verdict.
        node.health.abandonTrial();
      },
    };
    return new NodeLease(node.nodeId, lease, owner, requestTimeoutMs);
  }
}

interface Served {
  readonly node: Node;
  readonly lease: PoolLease<WirePeer>;
}

/**
 * One wait for a connection. It stands in the line of one node; of another one besides, whenever the share of the time
 * that there is for each node has passed, and at once where a node cannot be reached. The first to serve it ends it, so
 * a node that is silent or busy costs a share of the wait, and a place in a line is never given up for nothing.
 */
class LeaseWait {
  readonly #options: NodeLeasesOptions;
  readonly #limit: ReturnType<typeof childController>;
  readonly #served = deferred<Served>();
  readonly #tried = new Set<Node>();
  /** Monotonic. */
  readonly #endsAt: number;
  readonly #shareMs: number;
  #linesCount = 0;
  #timer: Timer | undefined;
  #error: unknown;
  #isOver = false;

  constructor(options: NodeLeasesOptions, limits: Abortable & { readonly timeoutMs: number }) {
    this.#options = options;
    this.#limit = childController(limits.signal);
    this.#endsAt = options.clock.monotonicNow() + limits.timeoutMs;
    this.#shareMs = limits.timeoutMs / Math.max(1, options.nodes.all.length);
  }

  served(): Promise<Served> {
    this.#standInLine();
    return this.#served.promise;
  }

  #standInLine(): void {
    const { clock } = this.#options;
    this.#timer?.cancel();
    const node = this.#pick();
    if (node === undefined) {
      if (this.#linesCount === 0) this.#fail(this.#error);
      return;
    }
    this.#tried.add(node);
    this.#linesCount += 1;
    const timeoutMs = Math.max(0, this.#endsAt - clock.monotonicNow());
    node.pool.acquire({ timeoutMs, signal: this.#limit.signal }).then(
      (lease) => this.#onLease(node, lease),
      (error: unknown) => this.#onError(node, error),
    );
    this.#timer = clock.schedule(this.#shareMs, () => this.#standInLine(), { unref: true });
  }

  /** Undefined when there is none left. */
  #pick(): Node | undefined {
    try {
      return this.#options.nodes.pick({ excluded: this.#tried, avoided: NONE });
    } catch (error) {
      // All are held back; those in whose lines it stands may serve it all the same.
      this.#error ??= error;
      return undefined;
    }
  }

  #onLease(node: Node, lease: PoolLease<WirePeer>): void {
    if (this.#isOver) {
      // Two nodes served it at once.
      node.health.abandonTrial();
      lease.release();
      return;
    }
    this.#end();
    this.#served.resolve({ node, lease });
  }

  #onError(node: Node, error: unknown): void {
    const { isClosed, nodes } = this.#options;
    this.#linesCount -= 1;
    const isElsewhere = nodes.onUnreached(node, error, this.#limit.signal);
    if (this.#isOver) return;
    if (!isElsewhere) {
      this.#fail(error);
    } else if (isClosed()) {
      this.#fail(new PoolClosedError("of the client"));
    } else {
      this.#note(error);
      this.#standInLine();
    }
  }

  /** Of all that went wrong the longest wait says most, and otherwise what came last. */
  #note(error: unknown): void {
    const known = this.#error;
    if (known instanceof PoolExhaustedError) {
      if (!(error instanceof PoolExhaustedError) || error.waitedMs <= known.waitedMs) return;
    }
    this.#error = error;
  }

  #fail(error: unknown): void {
    this.#end();
    this.#served.reject(error);
  }

  /** Leaves all lines. */
  #end(): void {
    this.#isOver = true;
    this.#timer?.cancel();
    this.#limit.abort();
    this.#limit.dispose();
  }
}

const NONE: ReadonlySet<Node> = new Set();
