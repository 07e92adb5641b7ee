import { type Clock, OverloadedError, RemoteError, TimeoutError, type WireError } from "@holdfast/kernel";
import { checkShape, decodeValue, encodeValue, UnexpectedFrameError } from "@holdfast/protocol";
import { type InputOf, type OutputOf, type RequestDefinition, wireError } from "@holdfast/protocol/contract";
import { ConnectionLostError } from "../errors.ts";
import type { RequestOptions } from "../peer.ts";
import { type Deadline, DeadlineQueue } from "./deadline-queue.ts";

export const REQUEST_TIMEOUT_MS = 10_000;

export interface OutgoingRequestsOptions {
  readonly clock: Clock;
  readonly remoteAddress: string;
  readonly maxCount: number;
  readonly send: (type: "request" | "cancel", sequence: bigint, payload: Uint8Array) => void;
  /** Called when the last request in flight has settled. */
  readonly onIdle: () => void;
}

interface Pending {
  readonly definition: RequestDefinition;
  readonly repeatable: boolean;
  readonly resolve: (answer: unknown) => void;
  readonly reject: (reason: unknown) => void;
  readonly deadline: Deadline;
  readonly signal: AbortSignal | undefined;
  readonly onAbort: (() => void) | undefined;
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

      const sequence = this.#nextSequence;
      const onAbort = signal === undefined ? undefined : () => this.#giveUp(sequence, signal.reason);
      const deadline = this.#deadlines.add(timeoutMs, () =>
        this.#giveUp(
          sequence,
          new TimeoutError(`${definition.name} at ${this.#options.remoteAddress}`, timeoutMs, {
            retryable: repeatable,
          }),
        ),
      );
      const entry: Pending = {
        definition,
        repeatable,
        resolve: resolve as (answer: unknown) => void,
        reject,
        deadline,
        signal,
        onAbort,
      };
      this.#pending.set(sequence, entry);
      this.#nextSequence += 1n;
      try {
        this.#options.send("request", sequence, payload);
      } catch (error) {
        // The frame is too large; its number was used, but the other side must not wait for a gap to close.
        this.#take(sequence);
        this.#nextSequence -= 1n;
        throw error;
      }
      if (onAbort !== undefined) signal?.addEventListener("abort", onAbort, { once: true });
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

  #giveUp(sequence: bigint, reason: unknown): void {
    const entry = this.#take(sequence);
    if (entry === undefined) return;
    entry.reject(reason);
    this.#options.send("cancel", sequence, EMPTY);
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
    entry.deadline.cancel();
    if (entry.onAbort !== undefined) entry.signal?.removeEventListener("abort", entry.onAbort);
    if (this.#pending.size === 0) this.#options.onIdle();
    return entry;
  }
}

const EMPTY = new Uint8Array(0);

/** The error in a failure frame. @throws InvalidMessageError, SerializationError when it is none. */
export const remoteErrorOf = (payload: Uint8Array, message: string): RemoteError =>
  new RemoteError(checkShape(wireError, decodeValue(payload), message, "failure") as WireError);
