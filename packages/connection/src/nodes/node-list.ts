import { NodeNotFoundError, NoHealthyNodesError } from "../errors.ts";
import { isConnectFailure, isNodeFailure } from "./failure-kinds.ts";
import type { ManagerEmitter } from "./manager-events.ts";
import type { ManagerSettings } from "./manager-options.ts";
import { Node } from "./node.ts";
import { SharedPermits } from "./shared-permits.ts";

/** How long a node that leaves the list may finish what it was asked. */
const REMOVE_DRAIN_MS = 5_000;

/** The nodes of a client: who may be asked, and what becomes of a node's answers and failures. */
export class NodeList {
  readonly permits: SharedPermits;
  readonly #settings: ManagerSettings;
  readonly #events: ManagerEmitter;
  readonly #nodes = new Map<string, Node>();
  /** Nodes that were taken off the list and finish what they were asked. */
  readonly #leaving = new Set<Promise<void>>();
  /** Errors that were counted: all who waited for one connection get the same. */
  readonly #judged = new WeakSet<object>();
  #nextNodeId = 1;
  #pickCount = 0;
  #minCount = 0;

  constructor(settings: ManagerSettings, events: ManagerEmitter) {
    this.#settings = settings;
    this.#events = events;
    this.permits = new SharedPermits(settings.pool.maxCount);
    for (const host of settings.hosts) this.add(host, { isGiven: true });
  }

  get all(): readonly Node[] {
    return [...this.#nodes.values()];
  }

  /** @throws NodeNotFoundError. */
  get(nodeId: number): Node {
    for (const node of this.#nodes.values()) if (node.nodeId === nodeId) return node;
    throw new NodeNotFoundError(nodeId);
  }

  has(host: string): boolean {
    return this.#nodes.has(host);
  }

  add(host: string, { isGiven }: { readonly isGiven: boolean }): Node {
    const known = this.#nodes.get(host);
    if (known !== undefined) return known;
    const node = new Node({ nodeId: this.#nextNodeId, host, isGiven }, this.#settings, this.permits, {
      onOpened: ({ nodeId }, connectionId) => this.#events.emit("connectionOpened", { nodeId, connectionId }),
      onClosed: ({ nodeId }, connectionId, reason) =>
        this.#events.emit("connectionClosed", { nodeId, connectionId, reason }),
      onGoodbye: (leaving) => this.#onGoodbye(leaving),
    });
    this.#nextNodeId += 1;
    this.#nodes.set(host, node);
    this.#events.emit("nodeAdded", { nodeId: node.nodeId, host });
    this.#spread();
    return node;
  }

  /** Asks it nothing more; what runs there may finish. */
  remove(host: string): void {
    const node = this.#nodes.get(host);
    if (node === undefined) return;
    this.#nodes.delete(host);
    this.#events.emit("nodeRemoved", { nodeId: node.nodeId, host });
    const closing: Promise<void> = node
      .close({ drainMs: REMOVE_DRAIN_MS })
      .finally(() => this.#leaving.delete(closing));
    this.#leaving.add(closing);
    this.#spread();
  }

  /** Opens and keeps this many connections, spread evenly over the nodes. */
  setMinCount(minCount: number): void {
    this.#minCount = minCount;
    this.#spread();
  }

  /**
   * The node to ask next, best one that is not in `avoided`, never one in `excluded`. When no node is well, the one
   * that failed longest ago is tried all the same: a client without a node helps nobody.
   * @throws NoHealthyNodesError when the caller holds all of them back. Undefined when all are excluded.
   */
  pick(options: {
    readonly excluded: ReadonlySet<Node>;
    readonly avoided: ReadonlySet<Node>;
  }): Node | undefined {
    const free = this.all.filter(({ health }) => !health.isHeld);
    if (free.length === 0) throw new NoHealthyNodesError(this.all.map(({ host }) => host));
    const left = free.filter((node) => !options.excluded.has(node));
    if (left.length === 0) return undefined;
    const isEligible = ({ health }: Node): boolean =>
      health.eligibility === "eligible" || health.eligibility === "trial";
    const eligible = left.filter(isEligible);
    const preferred = eligible.filter((node) => !options.avoided.has(node));
    const candidates = preferred.length > 0 ? preferred : eligible;
    const node = candidates.length > 0 ? this.#settings.picker(candidates) : leastRecentlyFailed(left);
    this.#pickCount += 1;
    node.lastPickedOrder = this.#pickCount;
    if (node.health.eligibility === "trial") node.health.beginTrial();
    return node;
  }

  onAnswered(node: Node): void {
    if (node.health.succeeded()) this.#events.emit("nodeRestored", { nodeId: node.nodeId, host: node.host });
  }

  /** The call failed; whether the node is to blame is judged here. The same error counts once. */
  onFailed(node: Node, error: unknown): void {
    if (!isNodeFailure(error)) {
      node.health.abandonTrial();
      return;
    }
    if (this.#judged.has(error as object)) return;
    this.#judged.add(error as object);
    const others = this.all.filter((other) => other !== node);
    const isLast = !others.some(({ health }) => health.eligibility === "eligible");
    this.#onEjected(node, node.health.failed({ isLast }));
  }

  /**
   * There was no connection to be had to it. Whether another node should be asked in its place; who is to blame is
   * judged here.
   */
  onUnreached(node: Node, error: unknown, signal: AbortSignal | undefined): boolean {
    if (signal?.aborted || !isConnectFailure(error)) {
      node.health.abandonTrial();
      return false;
    }
    this.onFailed(node, error);
    return true;
  }

  /** A ping that someone asked for failed. */
  onCheckFailed(node: Node, error: unknown): void {
    if (isNodeFailure(error)) this.#onEjected(node, node.health.checkFailed());
    else node.health.abandonTrial();
  }

  async close(options: { readonly drainMs: number }): Promise<void> {
    await Promise.all([...this.all.map((node) => node.close(options)), ...this.#leaving]);
    this.#nodes.clear();
  }

  #onEjected(node: Node, forMs: number | undefined): void {
    if (forMs === undefined) return;
    // Connections that were opened before are as doubtful as the one that failed.
    node.pool.clear();
    this.#events.emit("nodeEjected", { nodeId: node.nodeId, host: node.host, forMs });
  }

  #onGoodbye(node: Node): void {
    if (node.health.eligibility !== "eligible") return;
    node.health.rest();
    node.pool.clear();
    this.#events.emit("nodeDraining", { nodeId: node.nodeId, host: node.host });
  }

  #spread(): void {
    const nodes = this.all;
    nodes.forEach((node, index) => {
      const share = Math.floor(this.#minCount / nodes.length);
      const hasOneMore = index < this.#minCount % nodes.length;
      node.pool.setMinCount(share + (hasOneMore ? 1 : 0));
    });
  }
}

const leastRecentlyFailed = (nodes: readonly Node[]): Node =>
  nodes.reduce((best, node) => (node.health.lastFailureAt < best.health.lastFailureAt ? node : best));
