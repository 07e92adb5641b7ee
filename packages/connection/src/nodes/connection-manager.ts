import {
  type Abortable,
  hasCode,
  isHoldfastError,
  TaskGroup,
  TimeoutError,
  withTimeout,
} from "@holdfast/kernel";
import type {
  InputOf,
  ItemOf,
  OutputOf,
  RequestDefinition,
  StreamDefinition,
} from "@holdfast/protocol/contract";
import { Hedge, isRetryable, Retry } from "@holdfast/resilience";
import { PoolClosedError } from "../errors.ts";
import { whole } from "../link/settings.ts";
import { checkWait } from "../link/wait-limit.ts";
import type { StreamOptions } from "../peer.ts";
import { HealthChecks, type HealthReport } from "./health-checks.ts";
import { OperationMetrics } from "./latency-metrics.ts";
import { ManagerEmitter } from "./manager-events.ts";
import {
  type ConnectionManagerOptions,
  hostOf,
  type ManagerSettings,
  managerSettingsOf,
} from "./manager-options.ts";
import { connectionStatsOf, type ManagerStats } from "./manager-stats.ts";
import type { Node } from "./node.ts";
import { type Ask, type Call, NodeCalls } from "./node-calls.ts";
import type { NodeHealthRecord } from "./node-health.ts";
import type { NodeLease } from "./node-lease.ts";
import { NodeLeases } from "./node-leases.ts";
import { NodeList } from "./node-list.ts";
import { closeStream, type OpenStream, StreamOpening } from "./open-stream.ts";
import { RetryPauses } from "./retry-pauses.ts";

export interface ManagerRequestOptions extends Abortable {
  /** Longest wait for the answer to one attempt, once there is a connection, milliseconds. Default: `requestTimeoutMs` of the client. */
  readonly timeoutMs?: number;
  /** All attempts and pauses together, milliseconds, finite. Default: none beyond what the retries add up to. */
  readonly deadlineMs?: number;
  /** The request may be repeated although its definition does not say so, for example for its idempotency key. */
  readonly repeatable?: boolean;
}

const DRAIN_MS = 5_000;
const LOGOUT_MAX_MS = 1_000;

/**
 * The client side of a cluster: picks a healthy node for each request, keeps the connections, fails over, retries
 * what may be retried, and hedges where asked to.
 *
 * Guaranteed: a request settles; one that is not repeatable is sent at most once; a node that the caller holds
 * back gets nothing; every healthy node gets work; connections never exceed `pool.maxCount`.
 * At the bounds: no lease in `pool.acquireTimeoutMs` is PoolExhaustedError; an attempt of a request waits for a
 * connection of each node in turn, as long as connecting and a lease may take; all nodes held back is
 * NoHealthyNodesError at once; after the last attempt the last error is thrown as it is.
 */
export class ConnectionManager implements AsyncDisposable {
  readonly events: ManagerEmitter;
  readonly #settings: ManagerSettings;
  readonly #nodes: NodeList;
  readonly #calls: NodeCalls;
  readonly #checks: HealthChecks;
  readonly #tasks: TaskGroup;
  readonly #pauses: RetryPauses;
  readonly #retry: Retry;
  readonly #hedge: Hedge | undefined;
  readonly #requests = new OperationMetrics();
  readonly #leaseTimes = new OperationMetrics();
  readonly #leases: NodeLeases;
  #ejectedCount = 0;
  #isClosed = false;
  #closing: Promise<void> | undefined;

  /** @throws InvalidInputError naming the field that is wrong; no socket is opened before `connect` or a request. */
  constructor(options: ConnectionManagerOptions) {
    this.#settings = managerSettingsOf(options);
    const { endpoint, hedge, logger, retry, retryBudget } = this.#settings;
    this.events = new ManagerEmitter((error) =>
      logger.error({ err: error }, "a listener of a client failed"),
    );
    this.events.on("nodeEjected", () => {
      this.#ejectedCount += 1;
    });
    this.#nodes = new NodeList(this.#settings, this.events);
    this.#calls = new NodeCalls(this.#nodes, this.events, () => this.#isClosed);
    this.#checks = new HealthChecks(endpoint.clock, this.#nodes);
    this.#leases = new NodeLeases({
      clock: endpoint.clock,
      nodes: this.#nodes,
      requestTimeoutMs: this.#settings.requestTimeoutMs,
      isClosed: () => this.#isClosed,
    });
    this.#tasks = new TaskGroup({ logger });
    this.#pauses = new RetryPauses(endpoint.clock);
    this.#retry = new Retry({
      ...retry,
      budget: retryBudget,
      clock: this.#pauses,
      random: endpoint.random,
      shouldRetry: (error, attempt) =>
        !this.#isClosed && isRetryable(error, attempt) && !this.#calls.isFinal(error),
    });
    this.#retry.events.on("retrying", ({ attempt, delayMs, error }) =>
      this.events.emit("retrying", {
        attempt,
        delayMs,
        code: isHoldfastError(error) ? error.code : undefined,
      }),
    );
    this.#hedge = hedge === undefined ? undefined : new Hedge({ clock: endpoint.clock, ...hedge });
  }

  /**
   * Resolves with the first connection that is ready; the others, up to `pool.minCount`, follow in the background.
   * @throws the error of the last node when none can be reached; ends within one connect timeout.
   */
  async connect(options: Abortable = {}): Promise<void> {
    this.#requireOpen();
    const tries = this.#nodes.all.map((node) => this.#warm(node, options));
    try {
      await Promise.any(tries);
    } catch (error) {
      options.signal?.throwIfAborted();
      throw error instanceof AggregateError ? error.errors.at(-1) : error;
    }
    this.#nodes.setMinCount(this.#settings.pool.minCount);
    const { probeEveryMs: everyMs, requestTimeoutMs: timeoutMs } = this.#settings;
    this.#tasks.spawn("look after unwell nodes", (signal) =>
      this.#checks.probe({ everyMs, signal, timeoutMs }),
    );
  }

  /**
   * Asks a node, over a connection that other requests use at the same time.
   * @throws InvalidInputError for a `timeoutMs` or `deadlineMs` that is not finite; nothing was asked.
   * @throws RemoteError as the node says; the last error when the attempts are used up; TimeoutError at
   * `deadlineMs`; PoolClosedError after `disconnect`; signal.reason when aborted.
   */
  async request<D extends RequestDefinition>(
    definition: D,
    input: InputOf<D>,
    options: ManagerRequestOptions = {},
  ): Promise<OutputOf<D>> {
    this.#requireOpen();
    const call = callOf(definition, options);
    const { repeatable } = call;
    const { deadlineMs, signal, timeoutMs = this.#settings.requestTimeoutMs } = options;
    checkWait("timeoutMs", timeoutMs);
    if (deadlineMs !== undefined) checkWait("deadlineMs", deadlineMs);
    const asking =
      (limit: AbortSignal | undefined): Ask<OutputOf<D>> =>
      ({ peer }) =>
        peer.request(definition, input, { signal: limit, timeoutMs, repeatable });
    const hedge = definition.idempotent ? this.#hedge : undefined;
    return this.#measure(this.#requests, () => {
      if (deadlineMs === undefined) return this.#attempts(call, asking, signal, hedge);
      return withTimeout(
        this.#settings.endpoint.clock,
        { operation: definition.name, timeoutMs: deadlineMs, signal },
        (limited) => this.#attempts(call, asking, limited, hedge),
      );
    });
  }

  /**
   * Asks a node for a stream, see {@link Peer.stream}. Until its first item has come it fails over and is tried again
   * like a request; after that a failure is the reader's to handle, because items were read. A node that fails it is
   * blamed either way. `timeoutMs` (default: `requestTimeoutMs` of the client) is the longest wait for one item.
   */
  async *stream<D extends StreamDefinition>(
    definition: D,
    input: InputOf<D>,
    options: StreamOptions = {},
  ): AsyncGenerator<ItemOf<D>, void, undefined> {
    this.#requireOpen();
    const call = callOf(definition, options);
    const limits = { timeoutMs: this.#settings.requestTimeoutMs, ...options, repeatable: call.repeatable };
    checkWait("timeoutMs", limits.timeoutMs);
    const opening = new StreamOpening<ItemOf<D>>();
    const asking = (): Ask<OpenStream<ItemOf<D>>> => (shared, node) =>
      opening.open(node, shared, shared.peer.stream(definition, input, limits));
    const opened = await this.#measure(this.#requests, () =>
      this.#attempts(call, asking, options.signal),
    ).catch(async (error: unknown) => {
      await opening.giveUp();
      throw error;
    });
    try {
      if (opened.first.done === true) return;
      yield opened.first.value;
      yield* opened.rest;
    } catch (error) {
      if (options.signal?.aborted !== true) this.#calls.failed(opened.node, opened.shared, error);
      throw error;
    } finally {
      await closeStream(opened);
    }
  }

  /**
   * Waits for a connection of its own, for work whose order matters, at whichever node has one first.
   * @param options.timeoutMs Longest wait, of whole milliseconds, over all nodes together. Default:
   * `pool.acquireTimeoutMs`. 0 takes what is idle.
   * @throws InvalidInputError; PoolExhaustedError, NoHealthyNodesError, PoolClosedError; what connecting throws when
   * no node can be reached; signal.reason.
   */
  async lease(options: Abortable & { readonly timeoutMs?: number } = {}): Promise<NodeLease> {
    this.#requireOpen();
    const timeoutMs = whole("timeoutMs", options.timeoutMs ?? this.#settings.pool.acquireTimeoutMs, {
      min: 0,
    });
    return this.#measure(this.#leaseTimes, () => this.#leases.acquire({ signal: options.signal, timeoutMs }));
  }

  /** Holds a node back: it gets no request until {@link markHealthy}. @throws NodeNotFoundError. */
  markUnhealthy(nodeId: number): void {
    const node = this.#nodes.get(nodeId);
    node.health.hold();
    this.events.emit("nodeHeld", { nodeId, host: node.host });
  }

  /** Lifts the hold and forgets what was observed of the node. @throws NodeNotFoundError. */
  markHealthy(nodeId: number): void {
    const node = this.#nodes.get(nodeId);
    node.health.release();
    this.events.emit("nodeReleased", { nodeId, host: node.host });
  }

  /** What is known of every node, without asking it. */
  get health(): readonly NodeHealthRecord[] {
    return this.#checks.records;
  }

  /**
   * Pings every node, all at once, each within `timeoutMs` (whole milliseconds, default: `requestTimeoutMs` of the
   * client), and reports. Lifts no hold.
   * @throws InvalidInputError for a `timeoutMs` below 1 or not whole, before anything is asked; PoolClosedError;
   * signal.reason.
   */
  async checkHealth(options: Abortable & { readonly timeoutMs?: number } = {}): Promise<HealthReport> {
    this.#requireOpen();
    const { signal, timeoutMs = this.#settings.requestTimeoutMs } = options;
    return this.#checks.checkAll({ signal, timeoutMs: whole("timeoutMs", timeoutMs, { min: 1 }) });
  }

  /** Adds a node for good. Returns its number; that of the node when it is known already. */
  addHost(host: string): number {
    this.#requireOpen();
    return this.#nodes.add(hostOf(host), { isGiven: true }).nodeId;
  }

  /** Takes a node off the list; what runs there may finish. A host that is not known is ignored. */
  removeHost(host: string): void {
    this.#nodes.remove(hostOf(host));
  }

  /** The cluster says who belongs to it: new nodes are added, missing ones removed unless they were given by hand. */
  setAnnouncedHosts(hosts: readonly string[]): void {
    this.#requireOpen();
    const announced = new Set(hosts.map(hostOf));
    for (const { host, isGiven } of this.#nodes.all)
      if (!isGiven && !announced.has(host)) this.#nodes.remove(host);
    for (const host of announced) this.#nodes.add(host, { isGiven: false });
  }

  get stats(): ManagerStats {
    return {
      connections: connectionStatsOf(this.#nodes.all, this.#settings.pool.maxCount),
      requests: this.#requests.stats,
      leases: this.#leaseTimes.stats,
      retries: this.#retry.stats,
      hedges: this.#hedge?.stats,
      ejectedCount: this.#ejectedCount,
      nodes: this.#nodes.all.map(({ host, inFlightCount, nodeId, requestCount, roundTripMs }) => ({
        nodeId,
        host,
        inFlightCount,
        roundTripMs,
        requestCount,
      })),
    };
  }

  /**
   * Refuses new work, waits up to `drainMs` (default 5_000) for what runs, logs out as well as it can, closes
   * every connection. A call that pauses before its next attempt ends with PoolClosedError. Works with the cluster down. Idempotent.
   */
  disconnect(options: { readonly drainMs?: number } = {}): Promise<void> {
    this.#closing ??= this.#disconnect(options.drainMs ?? DRAIN_MS);
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.disconnect();
  }

  async #disconnect(drainMs: number): Promise<void> {
    this.#isClosed = true;
    this.#pauses.endAll();
    await this.#tasks.stop();
    const { endpoint, tokens } = this.#settings;
    try {
      const operation = "logging out";
      await withTimeout(endpoint.clock, { operation, timeoutMs: LOGOUT_MAX_MS }, (signal) =>
        tokens.end({ signal }),
      );
    } catch (error) {
      this.#settings.logger.info({ err: error }, "could not log out");
    }
    await this.#nodes.close({ drainMs });
  }

  #requireOpen(): void {
    if (this.#isClosed) throw new PoolClosedError("of the client");
  }

  #attempts<T>(
    call: Call,
    asking: (signal: AbortSignal | undefined) => Ask<T>,
    signal: AbortSignal | undefined,
    hedge?: Hedge,
  ): Promise<T> {
    return this.#retry.execute<T>(
      (attempt) => {
        // The client was closed during the pause.
        if (attempt.attempt > 1) this.#requireOpen();
        return hedge === undefined
          ? this.#calls.attempt(call, asking(signal), signal)
          : hedge.execute<T>(
              ({ isHedge, signal: copySignal }) =>
                this.#calls.attempt(call, asking(copySignal), copySignal, isHedge),
              attempt,
            );
      },
      // Which failures may be repeated is decided for each of them, below.
      { signal, idempotent: true },
    );
  }

  async #warm(node: Node, options: Abortable): Promise<void> {
    try {
      node.leave(await node.enter(options));
      this.#nodes.onAnswered(node);
    } catch (error) {
      if (options.signal?.aborted !== true) this.#nodes.onFailed(node, error);
      throw error;
    }
  }

  async #measure<T>(metrics: OperationMetrics, body: () => Promise<T>): Promise<T> {
    const { clock } = this.#settings.endpoint;
    const startedAt = clock.monotonicNow();
    try {
      const value = await body();
      metrics.note("success", clock.monotonicNow() - startedAt);
      return value;
    } catch (error) {
      const isTimeout = error instanceof TimeoutError || hasCode(error, "CONNECTION_TIMEOUT");
      metrics.note(isTimeout ? "timeout" : "error", clock.monotonicNow() - startedAt);
      throw error;
    }
  }
}

const callOf = (
  definition: RequestDefinition | StreamDefinition,
  options: { readonly repeatable?: boolean },
): Call => ({
  name: definition.name,
  repeatable: options.repeatable ?? definition.idempotent,
  avoided: new Set(),
  asked: new Set(),
});
