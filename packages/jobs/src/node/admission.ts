import type {
  Handlers,
  HandlersOptions,
  Peer,
  PushHandler,
  RequestHandler,
  StreamHandler,
} from "@holdfast/connection";
import { type Clock, OverloadedError } from "@holdfast/kernel";
import {
  type MessagePriority,
  type PushDefinition,
  type RequestDefinition,
  type StreamDefinition,
  submitJobs,
} from "@holdfast/protocol/contract";
import {
  ClientRateLimiter,
  jobOperationLimits,
  LoadShedder,
  LoadShedError,
  type OverloadSource,
  type WindowLimit,
} from "@holdfast/resilience";
import { RateLimitedError } from "../errors.ts";

export interface AdmissionOptions {
  readonly clock: Clock;
  /** How loaded the node is. */
  readonly source: OverloadSource;
  /** Requests per client and operation; `off` checks the load only. Default {@link jobOperationLimits} and 1000 follows per 10 s. */
  readonly limits?: Readonly<Record<string, WindowLimit>> | "off" | undefined;
}

/** What the limits call the requests. What is not listed shares one limit per client. */
const OPERATIONS: Readonly<Record<string, string>> = {
  "jobs.submit": "job_submit",
  "jobs.get": "job_status",
  "jobs.result": "job_status",
  "jobs.list": "job_status",
  "jobs.cancel": "cancel",
  "jobs.follow": "job_follow",
  "jobs.unfollow": "job_follow",
  "cluster.ping": "heartbeat",
};

/** A client may follow a thousand jobs over one connection, and asks again after each reconnect. */
const FOLLOW_LIMIT: WindowLimit = { limit: 1_000, windowMs: 10_000 };

/** Requests in progress on one node; critical ones are not limited. */
const IN_FLIGHT_MAX_COUNT = 1_000;
const IN_FLIGHT_MAX_COUNTS: Readonly<Record<Exclude<MessagePriority, "critical">, number>> = {
  high: 500,
  normal: 300,
  low: 200,
};
const RETRY_AFTER_MS = 500;
const SHED_RETRY_AFTER_MS = 1_000;

/**
 * Decides which requests a node takes in: by load (the less important first), by client and operation, and by
 * how many are in progress. Nodes of the cluster are not limited in rate, only by load.
 *
 * A client is known by its connection's node id and address; invented ids gain a fresh limit, so what protects
 * the node in the end is the load and the number of connections.
 */
export class Admission {
  readonly #shedder: LoadShedder;
  readonly #limiter: ClientRateLimiter | undefined;
  readonly #source: OverloadSource;
  readonly #inFlight: Record<MessagePriority, number> = { critical: 0, high: 0, normal: 0, low: 0 };

  constructor(options: AdmissionOptions) {
    const { clock, source, limits } = options;
    this.#source = source;
    this.#shedder = new LoadShedder({ source });
    this.#limiter =
      limits === "off"
        ? undefined
        : new ClientRateLimiter({
            clock,
            source,
            limits: { ...jobOperationLimits, job_follow: FOLLOW_LIMIT, ...limits },
          });
  }

  /** For {@link HandlersOptions}: an error refuses the message. What is in a bundle is judged one by one, see {@link each}. */
  readonly admit: NonNullable<HandlersOptions["admit"]> = (definition, peer) => {
    if (definition.name === submitJobs.name) return undefined;
    if (this.#limiter === undefined || definition.kind === "push" || isNode(peer)) {
      const isAdmitted = this.#shedder.tryAdmit(definition.priority);
      return isAdmitted ? undefined : this.#shed(definition.priority, SHED_RETRY_AFTER_MS);
    }
    const operation = OPERATIONS[definition.name] ?? definition.name;
    const priority = this.#priorityOf(definition);
    const client = `${peer.remote.nodeId}@${hostOf(peer.remote.address)}`;
    const admission = this.#limiter.tryAdmit({ client, operation, priority });
    switch (admission.kind) {
      case "admitted":
        return undefined;
      case "rate-limited":
        return new RateLimitedError(operation, admission.retryAfterMs);
      case "shed":
        return this.#shed(priority, admission.retryAfterMs);
    }
  };

  /**
   * One of many requests that came in one message: admitted, counted and refused as if it had come alone.
   * @throws RateLimitedError, LoadShedError, OverloadedError; what `body` throws.
   */
  async each<T>(definition: RequestDefinition, peer: Peer, body: () => Promise<T>): Promise<T> {
    const refusal = this.admit(definition, peer);
    if (refusal !== undefined) throw refusal;
    return this.#counted(definition.priority, body);
  }

  /** The same handlers, each request of them counted while it is in progress and refused beyond the limits. */
  limited(handlers: Handlers): Handlers {
    return {
      onRequest: <D extends RequestDefinition>(definition: D, handler: RequestHandler<D>): void => {
        handlers.onRequest<D>(definition, (input, context) =>
          this.#counted(definition.priority, () => handler(input, context)),
        );
      },
      onStream: <D extends StreamDefinition>(definition: D, handler: StreamHandler<D>): void => {
        handlers.onStream<D>(definition, (input, context) =>
          this.#countedItems(definition.priority, () => handler(input, context)),
        );
      },
      onPush: <D extends PushDefinition>(definition: D, handler: PushHandler<D>): void => {
        handlers.onPush(definition, handler);
      },
    };
  }

  async #counted<T>(priority: MessagePriority, body: () => Promise<T>): Promise<T> {
    this.#enter(priority);
    try {
      return await body();
    } finally {
      this.#inFlight[priority] -= 1;
    }
  }

  async *#countedItems<T>(priority: MessagePriority, body: () => AsyncIterable<T>): AsyncGenerator<T> {
    this.#enter(priority);
    try {
      yield* body();
    } finally {
      this.#inFlight[priority] -= 1;
    }
  }

  #shed(priority: MessagePriority, retryAfterMs: number): Error {
    return new LoadShedError(priority, this.#source.level, { retryAfterMs });
  }

  #enter(priority: MessagePriority): void {
    const counts = this.#inFlight;
    if (priority !== "critical") {
      const limit = IN_FLIGHT_MAX_COUNTS[priority];
      const total = counts.high + counts.normal + counts.low;
      if (counts[priority] >= limit || total >= IN_FLIGHT_MAX_COUNT) {
        throw new OverloadedError(`the line of requests of ${priority} priority`, limit, {
          retryAfterMs: RETRY_AFTER_MS,
        });
      }
    }
    counts[priority] += 1;
  }

  /** A cancel counts against its limit while there is no need; under stress it always passes. */
  #priorityOf(definition: RequestDefinition | StreamDefinition | PushDefinition): MessagePriority {
    const isCalm = this.#source.level === "healthy" || this.#source.level === "busy";
    return definition.name === "jobs.cancel" && isCalm ? "high" : definition.priority;
  }
}

const isNode = (peer: Peer): boolean =>
  peer.remote.scopes.includes("operate") && ["gate", "manager", "worker"].includes(peer.remote.role);

/** The address without its port: each connection of a client has another one. */
const hostOf = (address: string): string => address.replace(/:\d+$/, "");

/** The worse of two measures of load, whenever it is asked. */
export const worseOf = (
  a: { readonly level: OverloadSource["level"] },
  b: { readonly level: OverloadSource["level"] },
): { readonly level: OverloadSource["level"] } => ({
  get level() {
    const order = ["healthy", "busy", "stressed", "overloaded"] as const;
    return order[Math.max(order.indexOf(a.level), order.indexOf(b.level))] ?? "overloaded";
  },
});
