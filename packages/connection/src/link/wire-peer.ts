import { ClosedError, deferred, Emitter, OverloadedError } from "@holdfast/kernel";
import {
  checkShape,
  decodeFrame,
  encodeFrame,
  encodeMessage,
  type Frame,
  type FrameOptions,
  type FrameType,
} from "@holdfast/protocol";
import type {
  InputOf,
  ItemOf,
  OutputOf,
  PushDefinition,
  RequestDefinition,
  StreamDefinition,
} from "@holdfast/protocol/contract";
import type { Credential } from "../endpoint.ts";
import { ConnectionDrainingError, ConnectionLostError, UnsupportedFeatureError } from "../errors.ts";
import type { Peer, PeerTraffic, RemoteIdentity, RequestOptions, StreamOptions } from "../peer.ts";
import type { Link } from "../transport.ts";
import { frameOptionsOf } from "./frame-options.ts";
import { Heartbeat } from "./heartbeat.ts";
import { IncomingRequests } from "./incoming-requests.ts";
import { LoginJudge } from "./login-judge.ts";
import { Logins } from "./logins.ts";
import { failedStream, OutgoingRequests } from "./outgoing-requests.ts";
import { Pings } from "./pings.ts";
import type { WirePeerOptions } from "./wire-peer-options.ts";

type State = "open" | "closing" | "closed";

/** What happens to a connection once it is ready. */
interface PeerEvents {
  /** What was waiting to be sent is on its way. */
  drained: undefined;
  goodbyeHeard: undefined;
  /** The reason, when it did not end as it should. */
  closed: Error | undefined;
}

/** How long `close` lets requests in flight go on. */
const CLOSE_DRAIN_MS = 2_000;

let peersMadeCount = 0;

/** A ready connection: one link after its handshake. */
export class WirePeer implements Peer {
  readonly id: string;
  #remote: RemoteIdentity;
  readonly #link: Link;
  readonly #options: WirePeerOptions;
  readonly #frameOptions: FrameOptions;
  readonly #compressionCounts = { compressedCount: 0, incompressibleCount: 0 };
  readonly #traffic = { framesIn: 0, bytesIn: 0, framesOut: 0, bytesOut: 0 };
  readonly #outgoing: OutgoingRequests;
  readonly #incoming: IncomingRequests;
  readonly #pings: Pings;
  readonly #logins: Logins;
  readonly #judge: LoginJudge;
  readonly #heartbeat: Heartbeat;
  readonly #events: Emitter<PeerEvents>;
  readonly #closed = deferred<void>();
  #state: State = "open";
  #heardGoodbye = false;
  #isClosedByUs = false;
  #error: Error | undefined;
  #nextPush = 0n;

  constructor(options: WirePeerOptions) {
    peersMadeCount += 1;
    this.id = `peer-${peersMadeCount}`;
    this.#remote = options.remote;
    this.#link = options.link;
    this.#options = options;
    this.#frameOptions = frameOptionsOf(options, this.#compressionCounts);
    this.#events = new Emitter((error) =>
      options.logger.error({ err: error, peer: this.id }, "a listener of a connection failed"),
    );
    this.#outgoing = new OutgoingRequests({
      clock: options.clock,
      remoteAddress: options.remote.address,
      maxCount: options.requestsMaxCount,
      ask: (sequence, envelope) => this.#sendFrame(this.#message("request", sequence, envelope)),
      send: (type, sequence, payload) => this.#send(type, sequence, payload),
      onIdle: () => this.#endWhenIdle(),
    });
    this.#incoming = new IncomingRequests({
      peer: this,
      handlers: options.handlers,
      clock: options.clock,
      granted: options.granted,
      maxCount: options.requestsMaxCount,
      logger: options.logger,
      answer: (sequence, output) => this.#respond(this.#message("answer", sequence, output)),
      send: (type, sequence, payload) =>
        this.#respond(encodeFrame({ type, sequence, payload }, this.#frameOptions)),
      isCongested: () => this.#link.bufferedBytes > options.sendBufferMaxBytes,
      onIdle: () => this.#endWhenIdle(),
    });
    this.#pings = new Pings(options.clock, options.remote.address, (sequence) =>
      this.#send("ping", sequence, EMPTY),
    );
    this.#logins = new Logins({
      clock: options.clock,
      remoteAddress: options.remote.address,
      send: (sequence, payload) => this.#send("authenticate", sequence, payload),
      onGranted: (scopes) => {
        this.#remote = { ...this.#remote, scopes };
      },
    });
    this.#judge = new LoginJudge({
      judge: options.judge,
      remoteAddress: options.remote.address,
      onGranted: (grant) => {
        this.#incoming.granted = grant;
        this.#remote = { ...this.#remote, scopes: grant.scopes };
      },
      answer: (sequence, payload) =>
        this.#respond(encodeFrame({ type: "ready", sequence, payload }, this.#frameOptions)),
    });
    this.#heartbeat = new Heartbeat({
      clock: options.clock,
      intervalMs: options.heartbeatMs,
      sendPing: () => this.#pings.send(),
      onSilence: (silentMs) => this.destroy(this.#lost(`it did not answer for ${silentMs} ms`)),
    });
    options.link.limitFrames?.(options.frameMaxBytes);
    options.link.onDrain(() => {
      this.#incoming.onDrain();
      this.#events.emit("drained", undefined);
    });
    options.link.onFrame((bytes) => this.receive(bytes));
    options.link.onClose((error) => this.#onLinkClosed(error));
  }

  get remote(): RemoteIdentity {
    return this.#remote;
  }

  get isOpen(): boolean {
    return this.#state === "open";
  }

  get isDraining(): boolean {
    return this.#state !== "open" || this.#heardGoodbye;
  }

  get traffic(): PeerTraffic {
    return { ...this.#traffic, ...this.#compressionCounts };
  }

  get bufferedBytes(): number {
    return this.#link.bufferedBytes;
  }

  request<D extends RequestDefinition>(
    definition: D,
    input: InputOf<D>,
    options: RequestOptions = {},
  ): Promise<OutputOf<D>> {
    const refusal = this.#refusal();
    return refusal === undefined ? this.#outgoing.ask(definition, input, options) : Promise.reject(refusal);
  }

  stream<D extends StreamDefinition>(
    definition: D,
    input: InputOf<D>,
    options: StreamOptions = {},
  ): AsyncIterableIterator<ItemOf<D>> {
    const { address, features } = this.remote;
    const refusal =
      this.#refusal() ??
      (features.includes("streaming") ? undefined : new UnsupportedFeatureError(address, "streaming"));
    return refusal === undefined ? this.#outgoing.stream(definition, input, options) : failedStream(refusal);
  }

  push<D extends PushDefinition>(definition: D, payload: import("zod").input<D["payload"]>): boolean {
    if (this.#state !== "open" || this.#link.bufferedBytes > this.#options.sendBufferMaxBytes) return false;
    checkShape(definition.payload, payload, definition.name, "payload");
    this.#sendFrame(this.#message("push", this.#nextPush, [definition.name, payload]));
    this.#nextPush += 1n;
    return true;
  }

  authenticate(credential: Credential, options: RequestOptions = {}): Promise<void> {
    return this.#state === "open" ? this.#logins.show(credential, options) : Promise.reject(this.#notOpen());
  }

  ping(options: RequestOptions = {}): Promise<number> {
    return this.#state === "open" ? this.#pings.measure(options) : Promise.reject(this.#notOpen());
  }

  onDrain(listener: () => void): () => void {
    return this.#events.on("drained", listener);
  }

  onGoodbye(listener: () => void): () => void {
    if (this.#heardGoodbye) listener();
    return this.#events.on("goodbyeHeard", listener);
  }

  onClose(listener: (error: Error | undefined) => void): () => void {
    if (this.#state === "closed") {
      listener(this.#error);
      return () => undefined;
    }
    return this.#events.on("closed", listener);
  }

  close(): Promise<void> {
    return this.drain({ drainMs: CLOSE_DRAIN_MS });
  }

  /**
   * Says goodbye, waits until both sides have nothing in flight (the other side then closes the link), at
   * most `drainMs`, and closes. Idempotent; the first limit counts.
   */
  async drain({ drainMs }: { readonly drainMs: number }): Promise<void> {
    if (this.#state === "open") {
      this.#state = "closing";
      this.#isClosedByUs = true;
      this.#send("goodbye", 0n, EMPTY);
      const timer = this.#options.clock.schedule(drainMs, () => this.#link.close());
      this.onClose(() => timer.cancel());
      this.#endWhenIdle();
    }
    await this.#closed.promise;
  }

  /** Drops the connection at once. */
  destroy(error?: Error): void {
    if (this.#state === "closed") return;
    this.#link.destroy(error);
    this.#onLinkClosed(error);
  }

  /** Takes one encoded frame from the link. What is not a valid frame ends the connection. */
  receive(bytes: Uint8Array): void {
    if (this.#state === "closed") return;
    this.#heartbeat.heard();
    this.#traffic.framesIn += 1;
    this.#traffic.bytesIn += bytes.length;
    try {
      this.#handle(decodeFrame(bytes, this.#frameOptions));
    } catch (error) {
      this.destroy(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #handle({ type, sequence, payload }: Frame): void {
    switch (type) {
      case "request":
        this.#incoming.onRequest(sequence, payload);
        break;
      case "answer":
        this.#outgoing.onAnswer(sequence, payload);
        break;
      case "failure":
        this.#outgoing.onFailure(sequence, payload);
        break;
      case "item":
        this.#outgoing.onItem(sequence, payload);
        break;
      case "credit":
        this.#incoming.onCredit(sequence, payload);
        break;
      case "push":
        this.#incoming.onPush(sequence, payload);
        break;
      case "cancel":
        this.#incoming.onCancel(sequence);
        break;
      case "ping":
        this.#respond(encodeFrame({ type: "pong", sequence, payload: EMPTY }, this.#frameOptions));
        break;
      case "pong":
        this.#pings.onPong(sequence);
        break;
      case "authenticate":
        this.#judge.onAuthenticate(sequence, payload);
        break;
      case "ready":
        this.#logins.onReady(sequence, payload);
        break;
      case "goodbye":
        this.#onGoodbye();
        break;
      default:
        // A hello can only be one that the path repeated.
        break;
    }
  }

  #onGoodbye(): void {
    if (this.#heardGoodbye) return;
    this.#heardGoodbye = true;
    this.#events.emit("goodbyeHeard", undefined);
    this.#endWhenIdle();
  }

  /**
   * Who hears the goodbye ends the link: everything that the other side asked before it was heard by then, so
   * nothing is lost on the way.
   */
  #endWhenIdle(): void {
    if (this.#heardGoodbye && this.#outgoing.size === 0 && this.#incoming.size === 0) this.#link.close();
  }

  #send(type: FrameType, sequence: bigint, payload: Uint8Array): void {
    this.#sendFrame(encodeFrame({ type, sequence, payload }, this.#frameOptions));
  }

  #message(type: FrameType, sequence: bigint, value: unknown): Uint8Array {
    return encodeMessage(type, sequence, value, this.#frameOptions);
  }

  #sendFrame(frame: Uint8Array): void {
    this.#traffic.framesOut += 1;
    this.#traffic.bytesOut += frame.length;
    this.#link.send(frame, this.#outgoing.size + this.#incoming.size <= 1);
  }

  /** Answers cannot be refused to anyone, so who asks without reading loses the connection. */
  #respond(frame: Uint8Array): void {
    if (this.#state === "closed") return;
    this.#sendFrame(frame);
    if (this.#link.bufferedBytes > 2 * this.#options.sendBufferMaxBytes) {
      this.destroy(this.#lost(`it leaves ${this.#link.bufferedBytes} bytes unread`));
    }
  }

  #onLinkClosed(error: Error | undefined): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#error = error;
    this.#heartbeat.stop();
    const reason = ConnectionLostError.reasonOf(error);
    this.#outgoing.failAll(reason, error);
    this.#pings.failAll(this.#lost(reason, error));
    this.#logins.failAll(this.#lost(reason, error));
    this.#incoming.abortAll(error ?? this.#lost(reason));
    this.#events.emit("closed", error);
    this.#closed.resolve();
  }

  /** Why nothing can be asked now, if so. */
  #refusal(): Error | undefined {
    if (this.#state !== "open") return this.#notOpen();
    if (this.#heardGoodbye) return new ConnectionDrainingError(this.remote.address);
    const { sendBufferMaxBytes } = this.#options;
    if (this.#link.bufferedBytes <= sendBufferMaxBytes) return undefined;
    return new OverloadedError(`send buffer to ${this.remote.address}`, sendBufferMaxBytes);
  }

  #notOpen(): Error {
    return this.#isClosedByUs
      ? new ClosedError(`connection to ${this.remote.address}`)
      : this.#lost(ConnectionLostError.reasonOf(this.#error), this.#error);
  }

  #lost(reason: string, cause?: Error): ConnectionLostError {
    return new ConnectionLostError(this.remote.address, reason, cause === undefined ? {} : { cause });
  }
}

const EMPTY = new Uint8Array(0);
