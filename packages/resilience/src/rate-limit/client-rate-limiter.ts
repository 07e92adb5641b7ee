import { type Clock, Emitter, systemClock } from "@holdfast/kernel";
import { LoadShedError, RateLimitedError } from "../errors.ts";
import { isShed } from "../load-shedding/load-shedder.ts";
import { type OverloadLevel, type OverloadSource, overloadLevels } from "../load-shedding/overload-level.ts";
import { type Priority, priorities } from "../load-shedding/priority.ts";
import { checkNumber, checkOneOf } from "../option-checks.ts";
import { RecentKeys } from "./recent-keys.ts";
import { SlidingWindow } from "./sliding-window.ts";

export interface WindowLimit {
  /** Permits in any stretch of `windowMs`, a whole number from 1. */
  readonly limit: number;
  readonly windowMs: number;
}

const perTenSeconds = (limit: number): WindowLimit => ({ limit, windowMs: 10_000 });

/** The limits of a job server, per client and operation. */
export const jobOperationLimits = {
  job_submit: perTenSeconds(50),
  job_status: perTenSeconds(100),
  workflow_dispatch: perTenSeconds(100),
  cancel: perTenSeconds(20),
  reconnect: perTenSeconds(10),
  progress_update: perTenSeconds(300),
  heartbeat: perTenSeconds(200),
  stats_update: perTenSeconds(500),
} as const satisfies Readonly<Record<string, WindowLimit>>;

export interface ClientRateLimiterOptions {
  /** Limits per client and operation. Default {@link jobOperationLimits}. */
  readonly limits?: Readonly<Record<string, WindowLimit>>;
  /** For each operation not listed. Such operations share one window per client, so invented names gain nothing. Default 100 per 10 s. */
  readonly defaultLimit?: WindowLimit;
  /** All of a client's operations together while the node is stressed. Default 100 per 60 s. */
  readonly stressedLimit?: WindowLimit;
  /** How loaded the node is; read at every call. Default: always healthy. */
  readonly source?: OverloadSource;
  /** The pause asked for when work is refused for its priority alone, in milliseconds. Default 1_000. */
  readonly shedRetryAfterMs?: number;
  /** Clients remembered at once; one more evicts the one heard of longest ago. Default 10_000. */
  readonly clientMaxCount?: number;
  /** A client not heard of for this long is forgotten. Default 300_000. */
  readonly idleMs?: number;
  readonly clock?: Clock;
}

export interface ClientRequest {
  readonly client: string;
  readonly operation: string;
  /** Default `normal`. */
  readonly priority?: Priority;
}

/** The answer to one request: it may go on, its client used up a limit, or its priority is refused at this load. */
export type Admission =
  | { readonly kind: "admitted" }
  | { readonly kind: "rate-limited"; readonly retryAfterMs: number }
  | { readonly kind: "shed"; readonly level: OverloadLevel; readonly retryAfterMs: number };

export interface ClientRateLimiterEvents {
  refused: ClientRequest & { readonly level: OverloadLevel; readonly admission: Admission };
}

/** `askedCount = admittedCount + rateLimitedCount + shedCount`; `createdClientCount = clientCount + evictedClientCount + forgottenClientCount`. */
export interface ClientRateLimiterStats {
  readonly askedCount: number;
  readonly admittedCount: number;
  readonly rateLimitedCount: number;
  readonly shedCount: number;
  readonly clientCount: number;
  readonly createdClientCount: number;
  readonly evictedClientCount: number;
  readonly forgottenClientCount: number;
}

/** The windows of one client. Each is made when it is first needed. */
interface ClientWindows {
  readonly byOperation: Map<string, SlidingWindow>;
  stressed: SlidingWindow | undefined;
}

const ADMITTED: Admission = { kind: "admitted" };
const ALWAYS_HEALTHY: OverloadSource = { level: "healthy" };
/** No listed operation can have this name, so the shared window of unlisted ones has a key of its own. */
const UNLISTED = "";

/**
 * How much each client may ask for, and how that shrinks with the load of the node:
 * - healthy: each operation has its own sliding window per client;
 * - busy: the same, and low priority is refused;
 * - stressed: all of a client's operations share one stricter window;
 * - overloaded: only critical work passes.
 *
 * Critical work always passes and is not counted against any window.
 */
export class ClientRateLimiter {
  readonly events = new Emitter<ClientRateLimiterEvents>();
  readonly #limits: ReadonlyMap<string, WindowLimit>;
  readonly #defaultLimit: WindowLimit;
  readonly #stressedLimit: WindowLimit;
  readonly #source: OverloadSource;
  readonly #shedRetryAfterMs: number;
  readonly #clients: RecentKeys<ClientWindows>;
  readonly #clock: Clock;
  #admittedCount = 0;
  #rateLimitedCount = 0;
  #shedCount = 0;

  /** @throws InvalidInputError naming the option that is out of range. */
  constructor(options: ClientRateLimiterOptions = {}) {
    const limits = Object.entries(options.limits ?? jobOperationLimits);
    this.#limits = new Map(limits.map(([operation, limit]) => [operation, checkLimit(limit)]));
    this.#defaultLimit = checkLimit(options.defaultLimit ?? perTenSeconds(100));
    this.#stressedLimit = checkLimit(options.stressedLimit ?? { limit: 100, windowMs: 60_000 });
    this.#source = options.source ?? ALWAYS_HEALTHY;
    checkOneOf("source.level", this.#source.level, overloadLevels);
    this.#shedRetryAfterMs = checkNumber("shedRetryAfterMs", options.shedRetryAfterMs ?? 1_000, { min: 0 });
    this.#clients = new RecentKeys<ClientWindows>({
      keyMaxCount: options.clientMaxCount ?? 10_000,
      idleMs: options.idleMs ?? 300_000,
      create: () => ({ byOperation: new Map(), stressed: undefined }),
    });
    this.#clock = options.clock ?? systemClock;
  }

  get stats(): ClientRateLimiterStats {
    const clients = this.#clients.stats;
    return {
      askedCount: this.#admittedCount + this.#rateLimitedCount + this.#shedCount,
      admittedCount: this.#admittedCount,
      rateLimitedCount: this.#rateLimitedCount,
      shedCount: this.#shedCount,
      clientCount: clients.size,
      createdClientCount: clients.createdCount,
      evictedClientCount: clients.evictedCount,
      forgottenClientCount: clients.forgottenCount,
    };
  }

  /** Counts the request and says whether it may go on. @throws InvalidInputError for an unknown priority. */
  tryAdmit(request: ClientRequest): Admission {
    const priority = checkOneOf("priority", request.priority ?? "normal", priorities);
    const { level } = this.#source;
    const admission = priority === "critical" ? ADMITTED : this.#judge(request, priority, level);
    if (admission.kind === "admitted") {
      this.#admittedCount += 1;
      return admission;
    }
    if (admission.kind === "shed") this.#shedCount += 1;
    else this.#rateLimitedCount += 1;
    this.events.emit("refused", { ...request, level, admission });
    return admission;
  }

  /**
   * As `tryAdmit`, throwing the refusal.
   * @throws RateLimitedError when the client used up a limit; retryable after the computed wait.
   * @throws LoadShedError when the load refuses this priority; retryable.
   */
  admit(request: ClientRequest): void {
    const admission = this.tryAdmit(request);
    if (admission.kind === "admitted") return;
    const { retryAfterMs } = admission;
    if (admission.kind === "rate-limited") {
      throw new RateLimitedError(request.operation, {
        retryAfterMs,
        details: { operation: request.operation },
      });
    }
    throw new LoadShedError(request.priority ?? "normal", admission.level, { retryAfterMs });
  }

  #judge(request: ClientRequest, priority: Priority, level: OverloadLevel): Admission {
    // In stress the shared window takes the place of the shedding table: normal work still gets its part of it.
    const isRefused = level === "stressed" ? priority === "low" : isShed(level, priority);
    if (isRefused) return { kind: "shed", level, retryAfterMs: this.#shedRetryAfterMs };
    const now = this.#clock.monotonicNow();
    const windows = this.#clients.use(request.client, now);
    const window =
      level === "stressed"
        ? this.#stressedWindow(windows)
        : this.#operationWindow(windows, request.operation);
    const retryAfterMs = window.take(now);
    return retryAfterMs === 0 ? ADMITTED : { kind: "rate-limited", retryAfterMs };
  }

  #stressedWindow(windows: ClientWindows): SlidingWindow {
    windows.stressed ??= new SlidingWindow(this.#stressedLimit);
    return windows.stressed;
  }

  #operationWindow(windows: ClientWindows, operation: string): SlidingWindow {
    const limit = this.#limits.get(operation);
    const key = limit === undefined ? UNLISTED : operation;
    let window = windows.byOperation.get(key);
    if (window === undefined) {
      window = new SlidingWindow(limit ?? this.#defaultLimit);
      windows.byOperation.set(key, window);
    }
    return window;
  }
}

/** A window checks its own numbers; making one finds a wrong limit at creation instead of at the first request. */
const checkLimit = (limit: WindowLimit): WindowLimit => {
  const { limit: checked, windowMs } = new SlidingWindow(limit);
  return { limit: checked, windowMs };
};
