import { hasCode, RemoteError, TimeoutError } from "@holdfast/kernel";
import { NoHealthyNodesError, PoolClosedError } from "../errors.ts";
import { hadNoEffect, isTokenExpired, wasNotSent } from "./failure-kinds.ts";
import type { ManagerEmitter } from "./manager-events.ts";
import type { Node, SharedConnection } from "./node.ts";
import type { NodeList } from "./node-list.ts";

/** What the attempts of one request remember of each other. */
export interface Call {
  readonly name: string;
  readonly repeatable: boolean;
  /** Nodes that failed it; another is better. */
  readonly avoided: Set<Node>;
  /** Nodes that are being asked now: a second copy goes elsewhere. */
  readonly asked: Set<Node>;
}

/** Asks over an open connection to a node. */
export type Ask<T> = (shared: SharedConnection, node: Node) => Promise<T>;

/** How one attempt of a request finds a node, asks it, and what is learnt of the node from the outcome. */
export class NodeCalls {
  readonly #nodes: NodeList;
  readonly #events: ManagerEmitter;
  readonly #isClosed: () => boolean;
  /** Errors after which the request must not be sent again, whatever they say of themselves. */
  readonly #final = new WeakSet<object>();

  constructor(nodes: NodeList, events: ManagerEmitter, isClosed: () => boolean) {
    this.#nodes = nodes;
    this.#events = events;
    this.#isClosed = isClosed;
  }

  /** Whether the request that failed with this may have had an effect and is not safe to repeat. */
  isFinal(error: unknown): boolean {
    return typeof error === "object" && error !== null && this.#final.has(error);
  }

  /**
   * One attempt: nodes that cannot be reached are passed over until one was asked.
   * @param isHedge The extra copy of a slow call: goes to a node that is not being asked.
   */
  async attempt<T>(call: Call, ask: Ask<T>, signal: AbortSignal | undefined, isHedge = false): Promise<T> {
    const excluded = new Set(isHedge ? call.asked : []);
    const avoided = call.avoided;
    return this.#failOver({ excluded, avoided }, async (node) => {
      if (isHedge) this.#events.emit("hedged", { request: call.name, nodeId: node.nodeId });
      call.asked.add(node);
      node.inFlightCount += 1;
      try {
        return await this.#askNode(node, call, ask, signal);
      } finally {
        node.inFlightCount -= 1;
        call.asked.delete(node);
      }
    });
  }

  /** What was asked for had begun when it failed: the caller gets the error, and the node the blame. */
  failed(node: Node, shared: SharedConnection, error: unknown): void {
    if (error instanceof TimeoutError) node.suspect(shared);
    this.#blame(node, shared, error);
  }

  async #askNode<T>(node: Node, call: Call, ask: Ask<T>, signal: AbortSignal | undefined): Promise<T> {
    const shared = await this.#enter(node, signal);
    node.requestCount += 1;
    try {
      const answer = await ask(shared, node).catch(async (error: unknown) => {
        if (!isTokenExpired(error)) throw error;
        // Not a retry: the request was refused before anything was done.
        await node.reauthenticate(shared.peer, { signal });
        return ask(shared, node);
      });
      this.#nodes.onAnswered(node);
      node.measureNowAndThen(shared.peer);
      return answer;
    } catch (error) {
      if (signal?.aborted) {
        node.health.abandonTrial();
        throw error;
      }
      if (wasNotSent(error)) {
        node.health.abandonTrial();
        throw new NotAskedError(error);
      }
      this.failed(node, shared, error);
      call.avoided.add(node);
      if (!call.repeatable && !hadNoEffect(error)) this.#final.add(error as object);
      throw error;
    } finally {
      node.leave(shared);
    }
  }

  #blame(node: Node, shared: SharedConnection, error: unknown): void {
    if (error instanceof RemoteError) {
      // Whatever it said, it is alive.
      this.#nodes.onAnswered(node);
      return;
    }
    if (hasCode(error, "CONNECTION_LOST")) {
      if (shared.isBlamed) return;
      shared.isBlamed = true;
    }
    this.#nodes.onFailed(node, error);
  }

  /** @throws NotAskedError when another node should be tried instead. */
  async #enter(node: Node, signal: AbortSignal | undefined): Promise<SharedConnection> {
    try {
      return await node.enter({ signal });
    } catch (error) {
      throw this.#nodes.onUnreached(node, error, signal) ? new NotAskedError(error) : error;
    }
  }

  /** Tries one node after the other until one could be asked, each at most once. */
  async #failOver<T>(
    nodes: { readonly excluded: Set<Node>; readonly avoided: ReadonlySet<Node> },
    ask: (node: Node) => Promise<T>,
  ): Promise<T> {
    let lastError: unknown;
    for (;;) {
      const node = this.#nodes.pick(nodes);
      if (node === undefined)
        throw lastError ?? new NoHealthyNodesError(this.#nodes.all.map(({ host }) => host));
      try {
        return await ask(node);
      } catch (error) {
        if (!(error instanceof NotAskedError)) throw error;
        if (this.#isClosed()) throw new PoolClosedError("of the client");
        lastError = error.cause;
        nodes.excluded.add(node);
      }
    }
  }
}

/** Nothing was sent to the node; `cause` says why. Never leaves this file. */
class NotAskedError extends Error {
  constructor(cause: unknown) {
    super("the node was not asked", { cause });
  }
}
