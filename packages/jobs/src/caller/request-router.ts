import { ConnectionTimeoutError, type Peer } from "@holdfast/connection";
import {
  type Abortable,
  childController,
  hasCode,
  isHoldfastError,
  TimeoutError,
  withTimeout,
} from "@holdfast/kernel";
import {
  type InputOf,
  type OutputOf,
  type RequestDefinition,
  SUBMISSIONS_MAX_COUNT,
  submitJob,
  submitJobs,
} from "@holdfast/protocol/contract";
import { NoTargetError } from "../errors.ts";
import { BundledRequests } from "./bundled-requests.ts";
import type { CallerCounters } from "./caller-counters.ts";
import type { CallerOptions } from "./caller-options.ts";
import type { NodeLinks } from "./node-links.ts";
import type { TargetSelector } from "./target-selector.ts";
import { isTransient, isUnreachable, redirectOf } from "./transient.ts";

/** Leader redirects that one attempt follows; one more makes it a transient failure. */
export const REDIRECTS_MAX_COUNT = 3;

/** With less time than this left no further attempt is made. */
const LAST_ATTEMPT_MS = 10;

export interface AskOptions extends Abortable {
  /** Whose recorded node is asked first. */
  readonly jobId?: string;
  /** From the first attempt to the last, milliseconds. Default: the client's. */
  readonly deadlineMs?: number;
  /** Hears of every failed attempt, also of those that are followed by another. Must not throw. */
  readonly onFailedAttempt?: (error: unknown, address: string) => void;
}

export interface Answered<T> {
  readonly output: T;
  /** Who answered, redirects followed. */
  readonly address: string;
  readonly peer: Peer;
}

/**
 * Asks the cluster, whichever node answers: the next node after a failure, the leader after a redirect, the
 * same again after the wait that a server asked for.
 *
 * Between two attempts it waits the longer of the server's `retryAfterMs` and its own backoff, a doubling time
 * times a random factor in [0.5, 1.5); nodes that were not tried yet are tried at once when one cannot be
 * reached, and one that takes connections and says nothing gets no more than its share of the time while others are
 * left. The total is bounded by the deadline. Everything asked here is safe to repeat.
 */
export class RequestRouter {
  readonly #options: CallerOptions;
  readonly #links: NodeLinks;
  readonly #selector: TargetSelector;
  readonly #counters: CallerCounters;
  readonly #closed: AbortSignal;
  readonly #submissions = new BundledRequests({
    one: submitJob,
    many: submitJobs,
    maxCount: SUBMISSIONS_MAX_COUNT,
    pack: (submissions) => ({ submissions: [...submissions] }),
    unpack: ({ answers }) => answers.map(({ accepted, refused }) => ({ value: accepted, refused })),
  });

  constructor(
    options: CallerOptions,
    parts: {
      readonly links: NodeLinks;
      readonly selector: TargetSelector;
      readonly counters: CallerCounters;
      /** Aborts when the caller is closed. */
      readonly closed: AbortSignal;
    },
  ) {
    this.#options = options;
    this.#links = parts.links;
    this.#selector = parts.selector;
    this.#counters = parts.counters;
    this.#closed = parts.closed;
  }

  /**
   * @throws the node's error when it is final; the last transient error when the deadline passes;
   * NoTargetError without any configured node; ClosedError when the caller is closed; signal.reason when aborted.
   */
  async ask<D extends RequestDefinition>(
    definition: D,
    input: InputOf<D>,
    options: AskOptions = {},
  ): Promise<Answered<OutputOf<D>>> {
    const { clock, logger } = this.#options;
    this.#counters.add("requests");
    const deadlineMs = options.deadlineMs ?? this.#options.deadlineMs;
    const deadlineAt = clock.monotonicNow() + deadlineMs;
    let untried = this.#selector.targets(options.jobId);
    if (untried.length === 0) throw new NoTargetError();
    let round = new Round();
    for (let attempt = 1; ; attempt += 1) {
      options.signal?.throwIfAborted();
      const target = untried[0] as string;
      untried = untried.slice(1);
      const limits = { ...options, deadlineAt, untriedCount: untried.length };
      const outcome = await this.#attempt(definition, input, target, limits).then(
        (answered) => ({ answered }),
        (caught: unknown) => ({ caught }),
      );
      if ("answered" in outcome) return outcome.answered;
      options.signal?.throwIfAborted();
      this.#closed.throwIfAborted();
      const { caught } = outcome;
      const isMissing = hasCode(caught, "JOBS_NOT_FOUND");
      if (!isMissing && !isTransient(caught)) throw caught;
      round.note(caught, { isMissing, isGate: this.#selector.isGate(target) });
      const asksNext = isMissing || isUnreachable(caught);
      if (asksNext && untried.length > 0) continue;
      if (asksNext && round.missing !== undefined) throw round.missing;
      const failure = isMissing ? round.unreachedGate : caught;
      const waitMs = this.#waitMs(failure, { attempt, leftMs: deadlineAt - clock.monotonicNow() });
      if (waitMs === undefined) throw failure;
      logger.debug(
        { err: failure, request: definition.name, target, attempt, waitMs },
        "a request failed and is tried again",
      );
      await this.#pause(waitMs, options);
      if (untried.length > 0) continue;
      untried = this.#selector.targets(options.jobId);
      round = new Round();
    }
  }

  async #pause(ms: number, { signal }: Abortable): Promise<void> {
    const scope = childController(signal, this.#closed);
    try {
      await this.#options.clock.sleep(ms, { signal: scope.signal });
    } finally {
      scope.dispose();
    }
  }

  /** One attempt at one node, and at those that it redirects to. */
  async #attempt<D extends RequestDefinition>(
    definition: D,
    input: InputOf<D>,
    target: string,
    options: AskOptions & { readonly deadlineAt: number; readonly untriedCount: number },
  ): Promise<Answered<OutputOf<D>>> {
    const visited = new Set<string>();
    let address = target;
    for (;;) {
      visited.add(address);
      const timeoutMs = Math.min(
        this.#options.requestTimeoutMs,
        options.deadlineAt - this.#options.clock.monotonicNow(),
      );
      if (timeoutMs <= 0)
        throw new TimeoutError(definition.name, options.deadlineMs ?? this.#options.deadlineMs);
      try {
        const peer = await this.#connect(address, options);
        const output = await this.#request(peer, definition, input, { timeoutMs, signal: options.signal });
        this.#selector.succeeded(address, options.jobId);
        return { output, address, peer };
      } catch (error) {
        options.onFailedAttempt?.(error, address);
        this.#counters.add("failedAttempts");
        const next = redirectOf(error);
        if (next === undefined || visited.has(next) || visited.size > REDIRECTS_MAX_COUNT) {
          if (hasCode(error, "JOBS_NOT_LEADER")) this.#counters.add("failedRedirects");
          if (isUnreachable(error) || hasCode(error, "KERNEL_TIMEOUT"))
            this.#selector.failed(address, options.jobId);
          throw error;
        }
        this.#counters.add("redirects");
        address = next;
      }
    }
  }

  /** While others wait for their turn a node that does not get ready has only its share of the time that is left. */
  async #connect(
    address: string,
    options: Abortable & { readonly deadlineAt: number; readonly untriedCount: number },
  ): Promise<Peer> {
    const { clock } = this.#options;
    const { signal, untriedCount } = options;
    if (untriedCount === 0 || this.#links.isOpen(address)) return this.#links.get(address, { signal });
    const shareMs = Math.ceil((options.deadlineAt - clock.monotonicNow()) / (untriedCount + 1));
    const limit = { operation: `connecting to ${address}`, timeoutMs: shareMs, signal };
    try {
      return await withTimeout(clock, limit, (timely) => this.#links.get(address, { signal: timely }));
    } catch (error) {
      throw hasCode(error, "KERNEL_TIMEOUT") ? new ConnectionTimeoutError(address, shareMs) : error;
    }
  }

  #request<D extends RequestDefinition>(
    peer: Peer,
    definition: D,
    input: InputOf<D>,
    options: { readonly timeoutMs: number; readonly signal: AbortSignal | undefined },
  ): Promise<OutputOf<D>> {
    if ((definition as RequestDefinition) !== submitJob) return peer.request(definition, input, options);
    return this.#submissions.ask(peer, input as InputOf<typeof submitJob>, options) as Promise<OutputOf<D>>;
  }

  /** How long to wait before the next attempt; undefined when there is no time for one. */
  #waitMs(error: unknown, run: { readonly attempt: number; readonly leftMs: number }): number | undefined {
    const { backoffBaseMs, backoffMaxMs, random } = this.#options;
    const nominalMs = Math.min(backoffBaseMs * 2 ** Math.min(run.attempt - 1, 30), backoffMaxMs);
    // Our own wait never uses up the time that is left: the last attempt is worth more than the pause.
    const ownMs = Math.min(nominalMs * (0.5 + random.next()), run.leftMs / 2);
    const waitMs = Math.max(isHoldfastError(error) ? (error.retryAfterMs ?? 0) : 0, ownMs);
    return run.leftMs < LAST_ATTEMPT_MS || waitMs >= run.leftMs ? undefined : waitMs;
  }
}

/** What the nodes that were asked one after the other have said of a job that one of them does not know. */
class Round {
  /** A gate that could not be asked: a manager beside it may have nothing to do with the job. */
  unreachedGate: unknown;
  #missing: unknown;
  #isByGate = false;

  note(
    error: unknown,
    { isMissing, isGate }: { readonly isMissing: boolean; readonly isGate: boolean },
  ): void {
    if (isGate && isUnreachable(error)) this.unreachedGate ??= error;
    if (!isMissing || this.#isByGate) return;
    this.#missing = error;
    this.#isByGate = isGate;
  }

  /** The answer that nobody knows the job, unless a gate that was not reached may. */
  get missing(): unknown {
    return this.#isByGate || this.unreachedGate === undefined ? this.#missing : undefined;
  }
}
