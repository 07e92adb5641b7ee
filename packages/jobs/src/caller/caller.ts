import { setMaxListeners } from "node:events";
import { createHandlers, type Handlers } from "@holdfast/connection";
import { ClosedError, randomInt } from "@holdfast/kernel";
import type { InputOf, OutputOf, RequestDefinition } from "@holdfast/protocol/contract";
import { CallerCounters } from "./caller-counters.ts";
import type { CallerOptions } from "./caller-options.ts";
import { type FollowItem, type FollowRequest, followJob, type OpenFeed, openFeed } from "./follow-job.ts";
import { NodeLinks } from "./node-links.ts";
import { type Answered, type AskOptions, RequestRouter } from "./request-router.ts";
import { type PushTarget, Subscriptions } from "./subscriptions.ts";
import { TargetSelector } from "./target-selector.ts";

/**
 * The asking side of the jobs contract: a client towards gates and managers, a gate towards the managers of a
 * datacenter. Opens its connections when they are first needed.
 */
export class Caller implements AsyncDisposable {
  readonly options: CallerOptions;
  readonly selector: TargetSelector;
  readonly links: NodeLinks;
  readonly counters = new CallerCounters();
  readonly #router: RequestRouter;
  readonly #subscriptions: Subscriptions;
  readonly #closing = new AbortController();

  /** @param handlers Answers what the nodes ask of us, and gets their pushes. Default: fresh ones. */
  constructor(options: CallerOptions, handlers: Handlers = createHandlers()) {
    const { gates, managers, random } = options;
    this.options = options;
    // One listener per followed job: many are no leak.
    setMaxListeners(0, this.#closing.signal);
    this.#subscriptions = new Subscriptions(handlers, random);
    const startAt = randomInt(random, Math.max(gates.length, managers.length, 1));
    this.selector = new TargetSelector({ gates, managers, startAt });
    this.links = new NodeLinks(options, handlers, (address) => {
      this.counters.add("lostConnections");
      this.selector.lost(address);
    });
    this.#router = new RequestRouter(options, this);
  }

  /** Aborts when the caller is closed. */
  get closed(): AbortSignal {
    return this.#closing.signal;
  }

  /** See {@link RequestRouter.ask}. */
  ask<D extends RequestDefinition>(
    definition: D,
    input: InputOf<D>,
    options?: AskOptions,
  ): Promise<Answered<OutputOf<D>>> {
    return this.#router.ask(definition, input, options);
  }

  /** A place for pushes of a job that is about to be submitted: name it in the submission, then follow it. */
  openFeed(): OpenFeed {
    return openFeed({ options: this.options, subscriptions: this.#subscriptions }, undefined);
  }

  /** Registers whoever takes the pushes of a subscription; returns its id. Give it back with `unsubscribe`. */
  subscribe(target: PushTarget): string {
    return this.#subscriptions.add(target);
  }

  unsubscribe(subscriptionId: string): void {
    this.#subscriptions.remove(subscriptionId);
  }

  /** {@link followBatches}, one item at a time. */
  async *follow(jobId: string, request: FollowRequest = {}): AsyncGenerator<FollowItem, void, undefined> {
    for await (const items of this.followBatches(jobId, request)) yield* items;
  }

  /** See {@link followJob}. */
  followBatches(
    jobId: string,
    request: FollowRequest = {},
  ): AsyncGenerator<readonly FollowItem[], void, undefined> {
    return followJob(
      {
        options: this.options,
        router: this.#router,
        subscriptions: this.#subscriptions,
        counters: this.counters,
        closed: this.#closing.signal,
      },
      jobId,
      request,
    );
  }

  /** Ends all waits with ClosedError and closes the connections. Idempotent. */
  async close(): Promise<void> {
    if (!this.#closing.signal.aborted) this.#closing.abort(new ClosedError("the jobs client"));
    await this.links.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
