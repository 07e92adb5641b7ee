import { type Abortable, deferred, RemoteError, TimeoutError, untilAborted } from "@holdfast/kernel";
import type {
  InputOf,
  ItemOf,
  OutputOf,
  RequestDefinition,
  StreamDefinition,
} from "@holdfast/protocol/contract";
import type { WirePeer } from "../link/wire-peer.ts";
import type { Peer, RequestOptions, StreamOptions } from "../peer.ts";
import type { PoolLease } from "../pool/pool-lease.ts";
import { isNodeFailure, isTokenExpired } from "./failure-kinds.ts";

export interface NodeLeaseOwner {
  onAnswered(): void;
  onFailed(error: unknown): void;
  /** The node says that the token expired: shows a fresh one on this connection. */
  reauthenticate(options: Abortable): Promise<void>;
  /** Called once, when the lease has ended. */
  onEnded(): void;
}

/**
 * Exclusive use of one connection to one node, for work whose order matters: a transaction, a stream. Requests go
 * out one after the other; the connection is the same from first to last.
 *
 * After a timeout, an abort or a broken connection nobody knows what the node still does with the request, so the
 * connection is destroyed and the lease is over.
 */
export class NodeLease implements Disposable {
  /** As in the configuration: position plus one. */
  readonly nodeId: number;
  readonly #lease: PoolLease<WirePeer>;
  readonly #owner: NodeLeaseOwner;
  readonly #requestTimeoutMs: number;
  #last: Promise<unknown> = Promise.resolve();

  constructor(nodeId: number, lease: PoolLease<WirePeer>, owner: NodeLeaseOwner, requestTimeoutMs: number) {
    this.nodeId = nodeId;
    this.#lease = lease;
    this.#owner = owner;
    this.#requestTimeoutMs = requestTimeoutMs;
  }

  /** The number of the connection among those of its node; the same for every request of this lease. */
  get connectionId(): number {
    return this.#lease.id;
  }

  get isHeld(): boolean {
    return this.#lease.isHeld;
  }

  /** @throws LeaseReleasedError after the lease has ended. */
  get peer(): Peer {
    return this.#lease.resource;
  }

  /**
   * Asks over this connection, after the requests before it. An abort while it waits for them ends the wait at once and
   * leaves the lease as it is, because nothing was sent.
   * @throws what `Peer.request` throws; LeaseReleasedError after the lease has ended.
   */
  request<D extends RequestDefinition>(
    definition: D,
    input: InputOf<D>,
    options: RequestOptions = {},
  ): Promise<OutputOf<D>> {
    const before = this.#last;
    const answer = untilAborted(before, options.signal).then(() => this.#ask(definition, input, options));
    // Who comes next waits for those before it too.
    this.#last = before.then(() => answer).catch(() => undefined);
    return answer;
  }

  /**
   * Asks for a stream over this connection, after the requests before its first read and before those after it. Reading
   * it to its end leaves the lease as it is; leaving it early, an abort, a timeout or a broken connection destroys the
   * connection, and the lease is over. An abort while it waits for the requests before it is none of these.
   */
  async *stream<D extends StreamDefinition>(
    definition: D,
    input: InputOf<D>,
    options: StreamOptions = {},
  ): AsyncGenerator<ItemOf<D>, void, undefined> {
    const before = this.#last;
    const { promise: ended, resolve: onEnd } = deferred<void>();
    this.#last = before.then(() => ended);
    let isKnown = true;
    try {
      await untilAborted(before, options.signal);
      isKnown = false;
      const peer = this.#lease.resource;
      const ask = (): AsyncIterableIterator<ItemOf<D>> =>
        peer.stream(definition, input, { timeoutMs: this.#requestTimeoutMs, ...options });
      let items = ask();
      const first = await items.next().catch(async (error: unknown) => {
        if (!isTokenExpired(error)) throw error;
        await this.#owner.reauthenticate(options);
        items = ask();
        return items.next();
      });
      if (first.done !== true) {
        yield first.value;
        yield* items;
      }
      isKnown = true;
      this.#owner.onAnswered();
    } catch (error) {
      this.#blame(error, options);
      isKnown ||= error instanceof RemoteError;
      throw error;
    } finally {
      onEnd();
      if (!isKnown && this.isHeld) this.destroy();
    }
  }

  /** Gives the connection back. @throws LeaseReleasedError the second time. */
  release(): void {
    this.#lease.release();
    this.#owner.onEnded();
  }

  /** Drops the connection. @throws LeaseReleasedError the second time. */
  destroy(error?: Error): void {
    const peer = this.#lease.resource;
    peer.destroy(error);
    this.#lease.destroy(error);
    this.#owner.onEnded();
  }

  [Symbol.dispose](): void {
    if (this.isHeld) this.release();
  }

  async #ask<D extends RequestDefinition>(
    definition: D,
    input: InputOf<D>,
    options: RequestOptions,
  ): Promise<OutputOf<D>> {
    const peer = this.#lease.resource;
    options.signal?.throwIfAborted();
    const ask = (): Promise<OutputOf<D>> =>
      peer.request(definition, input, { timeoutMs: this.#requestTimeoutMs, ...options });
    try {
      const answer = await ask().catch(async (error: unknown) => {
        if (!isTokenExpired(error)) throw error;
        await this.#owner.reauthenticate(options);
        return ask();
      });
      this.#owner.onAnswered();
      return answer;
    } catch (error) {
      this.#blame(error, options);
      const isUnknown =
        isNodeFailure(error) || error instanceof TimeoutError || options.signal?.aborted === true;
      if (isUnknown && this.isHeld) this.destroy(error instanceof Error ? error : undefined);
      throw error;
    }
  }

  /** Whoever gives up says nothing of the node, whatever the reason looks like. */
  #blame(error: unknown, { signal }: Abortable): void {
    if (signal?.aborted !== true && isNodeFailure(error)) this.#owner.onFailed(error);
  }
}
