import {
  type Clock,
  hasCode,
  type Logger,
  OverloadedError,
  toWireError,
  type WireError,
} from "@holdfast/kernel";
import {
  checkShape,
  decodeValue,
  encodeValue,
  InvalidMessageError,
  UnexpectedFrameError,
  UnknownMessageError,
} from "@holdfast/protocol";
import type { PushDefinition, RequestDefinition, Scope, StreamDefinition } from "@holdfast/protocol/contract";
import { isRefusal } from "@holdfast/resilience";
import type { Grant } from "../endpoint.ts";
import { InvalidCredentialsError, PermissionDeniedError, TokenExpiredError } from "../errors.ts";
import type { HandlerTable } from "../handlers.ts";
import type { Peer, RequestContext } from "../peer.ts";
import { ItemSender } from "./item-sender.ts";
import { SequenceWindow } from "./sequence-window.ts";
import { saidWait } from "./wait-limit.ts";

export interface IncomingRequestsOptions {
  readonly peer: Peer;
  readonly handlers: HandlerTable;
  readonly clock: Clock;
  /** What the other side may ask for. */
  readonly granted: Grant;
  readonly maxCount: number;
  readonly logger: Logger;
  /** @throws SerializationError, FrameTooLargeError, and then nothing was sent. */
  readonly answer: (sequence: bigint, output: unknown) => void;
  readonly send: (type: "failure" | "item", sequence: bigint, payload: Uint8Array) => void;
  /** Whether more unsent bytes are held than streams may add to; call `onDrain` when that is over. */
  readonly isCongested: () => boolean;
  /** Called when the last request that was being handled is answered. */
  readonly onIdle: () => void;
}

/** Numbers that may be missing at once on a path that reorders; far more than any burst of a simulation. */
const GAP_MAX_COUNT = 1_024;
/** A reader may not make us hold more than this for one stream, whatever window it offers. */
const WINDOW_MAX_BYTES = 16 * 1024 * 1024;

/** What the other side asks and pushes: checked, handed to its handler, answered once. */
export class IncomingRequests {
  readonly #options: IncomingRequestsOptions;
  readonly #running = new Map<bigint, Running>();
  readonly #requestsSeen = new SequenceWindow({ gapMaxCount: GAP_MAX_COUNT });
  readonly #pushesSeen = new SequenceWindow({ gapMaxCount: GAP_MAX_COUNT });

  #scopes: ReadonlySet<Scope> = new Set();
  #isValid: (() => boolean) | undefined;
  #expiry: { readonly monotonicAt: number; readonly wallAt: number } | undefined;

  constructor(options: IncomingRequestsOptions) {
    this.#options = options;
    this.granted = options.granted;
  }

  set granted({ expiresAt, isValid, scopes }: Grant) {
    const { clock } = this.#options;
    this.#scopes = new Set(scopes);
    this.#isValid = isValid;
    // Wall time enters once; a clock that jumps later neither ends nor prolongs a grant.
    this.#expiry =
      expiresAt === undefined
        ? undefined
        : { monotonicAt: clock.monotonicNow() + expiresAt - clock.wallNow(), wallAt: expiresAt };
  }

  get size(): number {
    return this.#running.size;
  }

  onRequest(sequence: bigint, payload: Uint8Array): void {
    if (!this.#requestsSeen.add(sequence)) return;
    const { handlers, maxCount, peer } = this.#options;
    let running: Running | undefined;
    try {
      if (this.#running.size >= maxCount)
        throw new OverloadedError("requests in flight of one peer", maxCount);
      const [name, timeoutMs, value, windowBytes] = requestEnvelope(payload);
      const entry = handlers.request(name);
      if (entry === undefined) {
        this.#stream(sequence, { name, timeoutMs, value, windowBytes });
        return;
      }
      this.#checkAllowed(entry.definition);
      const input = checkShape(entry.definition.input, value, name, "input");
      running = new Running(peer, timeoutMs);
      this.#running.set(sequence, running);
      const started = running;
      entry.handler(input, started).then(
        (output) => this.#answer(sequence, started, entry.definition, output),
        (error: unknown) => this.#fail(sequence, started, error),
      );
    } catch (error) {
      this.#fail(sequence, running, error);
    }
  }

  /**
   * A reader has read some of its stream; for one that is over it counts for nothing.
   * @throws SerializationError, UnexpectedFrameError when nobody can have read that much: the connection is over.
   */
  onCredit(sequence: bigint, payload: Uint8Array): void {
    const readBytes = decodeValue(payload);
    if (typeof readBytes !== "number" || !Number.isSafeInteger(readBytes) || readBytes < 0)
      throw new UnexpectedFrameError("credit", "that is no number of bytes");
    this.#running.get(sequence)?.sender?.credit(readBytes);
  }

  /** There is room for more on the way out. */
  onDrain(): void {
    for (const { sender } of this.#running.values()) sender?.wake();
  }

  onPush(sequence: bigint, payload: Uint8Array): void {
    if (!this.#pushesSeen.add(sequence)) return;
    const { handlers, logger, peer } = this.#options;
    const dropped = (error: unknown): void =>
      logger.warn({ err: error, peer: peer.id }, "a push was dropped");
    try {
      const [name, value] = pushEnvelope(payload);
      const entry = handlers.pushed(name);
      if (entry === undefined) throw new UnknownMessageError(name);
      this.#checkAllowed(entry.definition);
      const handled: unknown = entry.handler(
        checkShape(entry.definition.payload, value, name, "payload"),
        peer,
      );
      // A function that promises something is one that returns nothing, for the type: its failure must not end the process.
      if (handled instanceof Promise) handled.catch(dropped);
    } catch (error) {
      dropped(error);
    }
  }

  onCancel(sequence: bigint): void {
    this.#running.get(sequence)?.abort(new Error("the asker gave up"));
  }

  /** The connection is gone: handlers are told, their answers go nowhere. */
  abortAll(reason: Error): void {
    const running = [...this.#running.values()];
    this.#running.clear();
    for (const entry of running) entry.abort(reason);
  }

  #stream(
    sequence: bigint,
    asked: { name: string; timeoutMs: number; value: unknown; windowBytes: unknown },
  ): void {
    const { handlers, isCongested, peer, send } = this.#options;
    const { name, windowBytes } = asked;
    const entry = handlers.streamed(name);
    if (entry === undefined) throw new UnknownMessageError(name);
    const { definition } = entry;
    if (typeof windowBytes !== "number" || !(windowBytes > 0)) throw notAnEnvelope("stream");
    this.#checkAllowed(definition);
    const input = checkShape(definition.input, asked.value, name, "input");
    const sender = new ItemSender({
      definition,
      windowBytes: Math.min(windowBytes, WINDOW_MAX_BYTES),
      isCongested,
      send: (payload) => send("item", sequence, payload),
    });
    const running = new Running(peer, asked.timeoutMs, sender);
    this.#running.set(sequence, running);
    const source = () => entry.handler(input, running);
    sender.run(source).then(
      (count) => this.#respond(sequence, running, { count }),
      (error: unknown) => this.#fail(sequence, running, error),
    );
  }

  #checkAllowed(definition: RequestDefinition | StreamDefinition | PushDefinition): void {
    if (this.#expiry !== undefined && this.#options.clock.monotonicNow() > this.#expiry.monotonicAt) {
      throw new TokenExpiredError(this.#expiry.wallAt);
    }
    if (this.#isValid?.() === false) {
      throw new InvalidCredentialsError("the token was revoked");
    }
    if (!this.#scopes.has(definition.scope)) {
      throw new PermissionDeniedError(definition.name, definition.scope);
    }
    const refusal = this.#options.handlers.admit(definition, this.#options.peer);
    if (refusal !== undefined) throw refusal;
  }

  #answer(sequence: bigint, running: Running, definition: RequestDefinition, output: unknown): void {
    if (this.#running.get(sequence) !== running) return;
    try {
      checkShape(definition.output, output, definition.name, "answer");
    } catch (error) {
      this.#fail(sequence, running, error);
      return;
    }
    this.#respond(sequence, running, output);
  }

  #respond(sequence: bigint, running: Running, output: unknown): void {
    if (this.#running.get(sequence) !== running) return;
    try {
      this.#options.answer(sequence, output);
    } catch (error) {
      this.#fail(sequence, running, error);
      return;
    }
    this.#done(sequence);
  }

  /** @param running Undefined when the request was refused before its handler started. */
  #fail(sequence: bigint, running: Running | undefined, error: unknown): void {
    const { logger, peer, send } = this.#options;
    if (running !== undefined && this.#running.get(sequence) !== running) return;
    const wire = markRefusal(error, running !== undefined);
    // Only what nobody foresaw is news for the log of this side: a typed error is an answer, and after the
    // asker has given up a failure is what we asked for.
    if (wire.code === "KERNEL_INTERNAL" && running?.isAborted !== true) {
      logger.error({ err: error, peer: peer.id }, "a request handler failed");
    }
    try {
      send("failure", sequence, encodeWireError(wire));
    } catch (tooLarge) {
      send("failure", sequence, encodeWireError(toWireError(tooLarge)));
    }
    this.#done(sequence);
  }

  #done(sequence: bigint): void {
    if (this.#running.delete(sequence) && this.#running.size === 0) this.#options.onIdle();
  }
}

/** One request being handled. The signal is made when someone asks for it: most handlers never do. */
class Running implements RequestContext {
  readonly peer: Peer;
  readonly timeoutMs: number;
  /** Of a stream. */
  readonly sender: ItemSender | undefined;
  #controller: AbortController | undefined;
  #reason: Error | undefined;

  constructor(peer: Peer, timeoutMs: number, sender?: ItemSender) {
    this.peer = peer;
    this.timeoutMs = timeoutMs;
    this.sender = sender;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#reason !== undefined) this.#controller.abort(this.#reason);
    }
    return this.#controller.signal;
  }

  get isAborted(): boolean {
    return this.#reason !== undefined;
  }

  abort(reason: Error): void {
    this.#reason ??= reason;
    this.#controller?.abort(reason);
    this.sender?.stop(reason);
  }
}

/**
 * The detail of a refusal that says that the handler was not begun. A handler cannot say so: it may have done something
 * before it was refused by somebody else, or before the token that it showed to a third node expired, and a mark that
 * comes from there is taken off.
 */
export const NOT_BEGUN = "notBegun";

const markRefusal = (error: unknown, isBegun: boolean): WireError => {
  const wire = toWireError(error);
  const { [NOT_BEGUN]: mark, ...details } = wire.details ?? {};
  const isMarked = !isBegun && (isRefusal(error) || hasCode(error, "AUTHENTICATION_TOKEN_EXPIRED"));
  if (isMarked) return { ...wire, details: { ...details, [NOT_BEGUN]: true } };
  return mark === undefined ? wire : { ...wire, details };
};

const MESSAGE_MAX_CHARS = 20_000;

/** The payload of a failure; loses its details rather than the whole error when they cannot be sent. */
export const encodeWireError = (wire: WireError): Uint8Array => {
  const message = wire.message.slice(0, MESSAGE_MAX_CHARS);
  try {
    return encodeValue({ ...wire, message });
  } catch {
    const { details: _, ...rest } = wire;
    return encodeValue({ ...rest, message });
  }
};

/**
 * `[name, timeoutMs, input]`, and for a stream its window; longer arrays are legal, for later minor versions.
 * @throws InvalidMessageError; the wait is brought within its bounds.
 */
const requestEnvelope = (
  payload: Uint8Array,
): readonly [name: string, timeoutMs: number, input: unknown, windowBytes: unknown] => {
  const value = decodeValue(payload);
  if (Array.isArray(value) && typeof value[0] === "string" && typeof value[1] === "number") {
    const timeoutMs = saidWait(value[1]);
    if (timeoutMs !== undefined) return [value[0], timeoutMs, value[2], value[3]];
  }
  throw notAnEnvelope("request");
};

const pushEnvelope = (payload: Uint8Array): readonly [name: string, payload: unknown] => {
  const value = decodeValue(payload);
  if (Array.isArray(value) && typeof value[0] === "string") return [value[0], value[1]];
  throw notAnEnvelope("push");
};

const notAnEnvelope = (type: string): InvalidMessageError =>
  new InvalidMessageError(type, "envelope", [
    { path: "", message: "must be an array that starts with a name" },
  ]);
