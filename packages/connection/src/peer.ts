import type { Abortable } from "@holdfast/kernel";
import type {
  InputOf,
  ItemOf,
  OutputOf,
  PayloadOf,
  PushDefinition,
  RequestDefinition,
  Scope,
  StreamDefinition,
} from "@holdfast/protocol/contract";
import type { Credential } from "./endpoint.ts";

/** What the other side said of itself in the handshake. */
export interface RemoteIdentity {
  /** Empty for a client that is not a node. */
  readonly nodeId: string;
  readonly role: string;
  /** `major.minor` of its protocol. */
  readonly version: string;
  /** Features that both sides have, sorted. */
  readonly features: readonly string[];
  /** What its credential allows here. On the dialling side: what we may do there. */
  readonly scopes: readonly Scope[];
  readonly address: string;
}

export interface RequestOptions extends Abortable {
  /** Milliseconds, finite; default 10_000. At the limit the call fails with TimeoutError; the answer, when it comes later, is dropped. */
  readonly timeoutMs?: number;
  /**
   * Whether the request may be repeated after it was sent, for example because its input carries an idempotency
   * key; decides `retryable` of its errors. Default: what its definition says.
   */
  readonly repeatable?: boolean;
}

export interface StreamOptions extends Abortable {
  /** Longest wait for the next item, milliseconds, finite. Default 10_000. At the limit the stream ends with TimeoutError. */
  readonly timeoutMs?: number;
  /**
   * Bytes of items that may be on their way or unread; the other side waits at this, and may go over it by one item.
   * Default 256 KiB, from 1 KiB to 16 MiB.
   */
  readonly windowBytes?: number;
  /** Decides `retryable` of its errors. Default: what its definition says. */
  readonly repeatable?: boolean;
}

/** What a handler knows beside the message. */
export interface RequestContext {
  readonly peer: Peer;
  /** How long the asker says that it waits from sending on, milliseconds; from 0 to 2^31 - 1. */
  readonly timeoutMs: number;
  /** Aborts when the connection closes or the asker gives up. */
  readonly signal: AbortSignal;
}

export type RequestHandler<D extends RequestDefinition> = (
  input: import("zod").output<D["input"]>,
  context: RequestContext,
) => Promise<import("zod").input<D["output"]>>;

/**
 * Answers by items. It is asked for the next one only when there is room for it on the way to the asker, and ended
 * (`return`, so its `finally` runs) when the asker gives up or the connection is gone.
 */
export type StreamHandler<D extends StreamDefinition> = (
  input: import("zod").output<D["input"]>,
  context: RequestContext,
) => AsyncIterable<import("zod").input<D["item"]>>;

/** What it throws, or rejects with when it is asynchronous, is logged; the connection goes on. */
export type PushHandler<D extends PushDefinition> = (payload: PayloadOf<D>, peer: Peer) => void;

/**
 * The handlers of a node, shared by all its connections. A message is checked against its schema and the
 * peer's scopes before the handler sees it; an answer is checked too.
 */
export interface Handlers {
  /** @throws InvalidInputError when the name is taken. */
  onRequest<D extends RequestDefinition>(definition: D, handler: RequestHandler<D>): void;
  /** @throws InvalidInputError when the name is taken. */
  onStream<D extends StreamDefinition>(definition: D, handler: StreamHandler<D>): void;
  /** @throws InvalidInputError when the name is taken. */
  onPush<D extends PushDefinition>(definition: D, handler: PushHandler<D>): void;
}

/** What went over one connection since it is ready. */
export interface PeerTraffic {
  readonly framesIn: number;
  readonly bytesIn: number;
  readonly framesOut: number;
  readonly bytesOut: number;
  readonly compressedCount: number;
  /** Payloads that were large enough but would not have become smaller; they went as they are. */
  readonly incompressibleCount: number;
}

/**
 * One ready connection, the same on both sides: either may ask and push. Requests are multiplexed: many are
 * in flight at once and answers come in any order.
 *
 * Guaranteed: an answer reaches only its asker; every request settles (answer, typed error, timeout, abort or
 * ConnectionLostError); a message that does not fit its schema is answered with PROTOCOL_INVALID_MESSAGE and
 * costs nothing else. Not guaranteed: that a request that failed with ConnectionLostError or TimeoutError
 * was not carried out.
 */
export interface Peer {
  /** Unique in this process. */
  readonly id: string;
  readonly remote: RemoteIdentity;
  readonly isOpen: boolean;
  /**
   * @throws RemoteError with the code of the other side's error.
   * @throws InvalidInputError for a `timeoutMs` that is not finite; nothing was sent.
   * @throws InvalidMessageError when the input or the answer does not fit its schema; ClosedError after `close`;
   * ConnectionDrainingError when the other side is shutting down (retryable: nothing was sent).
   * @throws TimeoutError, ConnectionLostError (both retryable when the definition is idempotent), OverloadedError
   * when more than the allowed number of requests is in flight (default 10_000).
   */
  request<D extends RequestDefinition>(
    definition: D,
    input: InputOf<D>,
    options?: RequestOptions,
  ): Promise<OutputOf<D>>;
  /**
   * Asks for a stream of items. Items come in order, each once, and the end only after the last of them, so a stream
   * that ends without an error was whole. Unread items take `windowBytes` at most: a reader who is slow holds the other
   * side back, and nobody else on this connection. A stream that is not read to its end must be ended, by leaving its
   * `for await` loop or by `return`: until then it counts among the requests in flight.
   *
   * The iterator throws what `request` throws; TimeoutError when the next item is late; UnsupportedFeatureError when the other
   * side cannot stream; signal.reason when aborted. Items that came before a failure are given first.
   */
  stream<D extends StreamDefinition>(
    definition: D,
    input: InputOf<D>,
    options?: StreamOptions,
  ): AsyncIterableIterator<ItemOf<D>>;
  /**
   * Sends without an answer. False when the connection is closed or its send buffer is over the limit
   * (default 16 MiB): the push was dropped then.
   */
  push<D extends PushDefinition>(definition: D, payload: import("zod").input<D["payload"]>): boolean;
  /**
   * Shows a fresh credential on the open connection, for example because the old one expired.
   * @throws AuthenticationFailedError when it is refused; the old grant, if it is still good, stays.
   */
  authenticate(credential: Credential, options?: RequestOptions): Promise<void>;
  /**
   * Waits until the other side answers, and tells how long that took, in milliseconds. Default limit 5_000.
   * @throws TimeoutError, ConnectionLostError (both retryable), ClosedError; signal.reason when aborted.
   */
  ping(options?: RequestOptions): Promise<number>;
  readonly traffic: PeerTraffic;
  /** Bytes waiting to be sent; pushes of bulk should pause above some hundred KiB and go on at `onDrain`. */
  readonly bufferedBytes: number;
  onDrain(listener: () => void): () => void;
  /** The other side (or we) announced the end: what runs may finish, nothing new is taken. */
  readonly isDraining: boolean;
  /** Called once when the other side announces that it will close; at once when it has done so already. */
  onGoodbye(listener: () => void): () => void;
  /** Called once when the connection is gone; at once when it is gone already. */
  onClose(listener: (error: Error | undefined) => void): () => void;
  /** Lets requests in flight finish (up to 2 s), then closes. Idempotent. */
  close(): Promise<void>;
}
