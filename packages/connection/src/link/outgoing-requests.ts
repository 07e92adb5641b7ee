import { type Clock, OverloadedError, RemoteError, TimeoutError, type WireError } from "@holdfast/kernel";
import { checkShape, decodeValue, encodeValue, UnexpectedFrameError } from "@holdfast/protocol";
import { type InputOf, type OutputOf, type RequestDefinition, wireError } from "@holdfast/protocol/contract";
import { ConnectionLostError } from "../errors.ts";
import type { RequestOptions } from "../peer.ts";
import { Deadline, DeadlineQueue } from "./deadline-queue.ts";

export const REQUEST_TIMEOUT_MS = 10_000;

export interface OutgoingRequestsOptions {
  readonly clock: Clock;
  readonly remoteAddress: string;
  readonly maxCount: number;
  readonly send: (type: "request" | "cancel", sequence: bigint, payload: Uint8Array) => void;
  /** Called when the last request in flight has settled. */
  readonly onIdle: () => void;
}

/** The requests of one connection that wait for their answer. Each settles exactly once. */
export class OutgoingRequests {
  readonly #options: OutgoingRequestsOptions;
  readonly #deadlines: DeadlineQueue;
  readonly #pending = new Map<bigint, Pending>();
  #nextSequence = 0n;

  constructor(options: OutgoingRequestsOptions) {
    this.#options = options;
    this.#deadlines = new DeadlineQueue(options.clock);
  }

  get size(): number {
    return this.#pending.size;
  }

  ask<D extends RequestDefinition>(
    definition: D,
    input: InputOf<D>,
    options: RequestOptions,
  ): Promise<OutputOf<D>> {
    return new Promise((resolve, reject) => {
      const { repeatable = definition.idempotent, signal, timeoutMs = REQUEST_TIMEOUT_MS } = options;
      if (signal?.aborted) throw signal.reason;
      if (this.#pending.size >= this.#options.maxCount) {
        throw new OverloadedError(
          `requests in flight to ${this.#options.remoteAddress}`,
          this.#options.maxCount,
        );
      }
      // What is sent is the input as it was given: the other side parses it, and parsing twice would apply
      // transformations twice.
      checkShape(definition.input, input, definition.name, "input");
      const payload = encodeValue([definition.name, timeoutMs, input]);

      const entry = new Pending(
        this,
        this.#nextSequence,
        definition,
        repeatable,
        resolve as Answered,
        reject,
      );
      // Before anything is noted: a frame that is too large must leave nothing behind, not even a used number.
      this.#options.send("request", entry.sequence, payload);
      this.#nextSequence += 1n;
      this.#pending.set(entry.sequence, entry);
      this.#deadlines.add(timeoutMs, entry);
      entry.timeoutMs = timeoutMs;
      if (signal !== undefined) entry.abortWith(signal);
    });
  }

  /** @throws UnexpectedFrameError when the number was never used; an answer that comes too late is dropped. */
  onAnswer(sequence: bigint, payload: Uint8Array): void {
    const entry = this.#claim(sequence, "answer");
    if (entry === undefined) return;
    try {
      entry.resolve(
        checkShape(entry.definition.output, decodeValue(payload), entry.definition.name, "answer"),
      );
    } catch (error) {
      entry.reject(error);
    }
  }

  /** @throws UnexpectedFrameError when the number was never used. */
  onFailure(sequence: bigint, payload: Uint8Array): void {
    const entry = this.#claim(sequence, "failure");
    if (entry === undefined) return;
    try {
      entry.reject(remoteErrorOf(payload, entry.definition.name));
    } catch (error) {
      entry.reject(error);
    }
  }

  /** The connection is gone: nothing that waits will be answered. */
  failAll(reason: string, cause: Error | undefined): void {
    this.#deadlines.clear();
    for (const sequence of [...this.#pending.keys()]) {
      const entry = this.#take(sequence);
      entry?.reject(
        new ConnectionLostError(
          this.#options.remoteAddress,
          `${reason} while ${entry.definition.name} was in flight`,
          {
            retryable: entry.repeatable,
            ...(cause === undefined ? {} : { cause }),
            details: { request: entry.definition.name },
          },
        ),
      );
    }
  }

  /** For the request: its time is over, or its asker gave up. */
  giveUp(entry: Pending, reason: unknown): void {
    if (this.#take(entry.sequence) === undefined) return;
    entry.reject(reason);
    this.#options.send("cancel", entry.sequence, EMPTY);
  }

  /** For the request. */
  timeOut(entry: Pending): void {
    const operation = `${entry.definition.name} at ${this.#options.remoteAddress}`;
    this.giveUp(entry, new TimeoutError(operation, entry.timeoutMs, { retryable: entry.repeatable }));
  }

  #claim(sequence: bigint, type: "answer" | "failure"): Pending | undefined {
    const entry = this.#take(sequence);
    if (entry === undefined && sequence >= this.#nextSequence) {
      throw new UnexpectedFrameError(type, `for request ${sequence}, which was never sent`);
    }
    return entry;
  }

  #take(sequence: bigint): Pending | undefined {
    const entry = this.#pending.get(sequence);
    if (entry === undefined) return undefined;
    this.#pending.delete(sequence);
    entry.settle();
    if (this.#pending.size === 0) this.#options.onIdle();
    return entry;
  }
}

type Answered = (answer: unknown) => void;

/** One request in flight. */
class Pending extends Deadline {
  readonly sequence: bigint;
  readonly definition: RequestDefinition;
  readonly repeatable: boolean;
  readonly resolve: Answered;
  readonly reject: (reason: unknown) => void;
  timeoutMs = 0;
  readonly #owner: OutgoingRequests;
  #signal: AbortSignal | undefined;
  #onAbort: (() => void) | undefined;

  constructor(
    owner: OutgoingRequests,
    sequence: bigint,
    definition: RequestDefinition,
    repeatable: boolean,
    resolve: Answered,
    reject: (reason: unknown) => void,
  ) {
    super();
    this.#owner = owner;
    this.sequence = sequence;
    this.definition = definition;
    this.repeatable = repeatable;
    this.resolve = resolve;
    this.reject = reject;
  }

  onDeadline(): void {
    this.#owner.timeOut(this);
  }

  abortWith(signal: AbortSignal): void {
    this.#signal = signal;
    this.#onAbort = () => this.#owner.giveUp(this, signal.reason);
    signal.addEventListener("abort", this.#onAbort, { once: true });
  }

  settle(): void {
    this.cancelDeadline();
    if (this.#onAbort !== undefined) this.#signal?.removeEventListener("abort", this.#onAbort);
  }
}

const EMPTY = new Uint8Array(0);

/** The error in a failure frame. @throws InvalidMessageError, SerializationError when it is none. */
export const remoteErrorOf = (payload: Uint8Array, message: string): RemoteError =>
  new RemoteError(checkShape(wireError, decodeValue(payload), message, "failure") as WireError);
