import {
  type Clock,
  InvalidInputError,
  type Logger,
  type Random,
  silentLogger,
  systemClock,
  systemRandom,
} from "@holdfast/kernel";
import { DEFAULT_LIMITS, type LiveLimits } from "../model/limits.ts";
import { checkCount, checkMs } from "../model/option-checks.ts";
import type { AccessRules } from "./authorization.ts";
import type { ChannelLog } from "./channel-log.ts";

export interface LiveServerOptions extends AccessRules {
  /** Carries the events. The server does not close it. */
  readonly log: ChannelLog;
  /**
   * Origins of pages that may connect, exactly as browsers send them: `https://app.example.org`. `*` allows every
   * page and is refused together with `authenticate`.
   */
  readonly origins: readonly string[] | "*";
  /** Also allow pages that this very server serves: `http` or `https` with the request's own Host. Default false. */
  readonly sameOrigin?: boolean;
  /** What to do with a client that sends no Origin, as programs do that are not browsers. Default `refuse`. */
  readonly missingOrigin?: "refuse" | "allow";
  /** Where the WebSocket is. Default `/ws/broadcast`. */
  readonly path?: string;
  readonly limits?: Partial<LiveLimits>;
  /** Bytes that may wait for one client, the new frame counted. Default 1_048_576; at least twice `eventMaxBytes`. */
  readonly queueMaxBytes?: number;
  /** Connections at once, event streams counted; more are refused with 503. Default 100_000. */
  readonly connectionMaxCount?: number;
  /** How often each client is asked for a sign of life, milliseconds. Default 25_000. */
  readonly pingIntervalMs?: number;
  /** How long it may take to answer, milliseconds. Default 10_000. */
  readonly pingTimeoutMs?: number;
  /** How long a client may take to show who it is, milliseconds. Default 15_000. */
  readonly authenticateWithinMs?: number;
  /** How long a connection outlives its token, so that a refresh can come, milliseconds. Default 25_000. */
  readonly expiryGraceMs?: number;
  /** How long one call of `authenticate` or `authorize` may take, milliseconds. Default 10_000. */
  readonly hookTimeoutMs?: number;
  /**
   * How long a publisher must wait, milliseconds, or undefined when it may go on: the place for a rate limit. Asked for
   * each request over HTTP and each publish over a socket. Default: no limit.
   */
  readonly publishWaitMs?: (user: string | undefined) => number | undefined;
  readonly clock?: Clock;
  readonly random?: Random;
  /** Never given a token or a payload. Default: silent. */
  readonly logger?: Logger;
}

export type LiveSettings = Required<
  Omit<LiveServerOptions, "authenticate" | "limits" | "authorize" | "publishWaitMs">
> & {
  readonly authenticate: LiveServerOptions["authenticate"] | undefined;
  readonly limits: LiveLimits;
  readonly authorize: NonNullable<LiveServerOptions["authorize"]>;
  readonly publishWaitMs: NonNullable<LiveServerOptions["publishWaitMs"]>;
};

const limitsOf = (limits: Partial<LiveLimits> = {}): LiveLimits => {
  const count = (name: keyof LiveLimits): number =>
    checkCount(`limits.${name}`, limits[name] ?? DEFAULT_LIMITS[name], 1);
  return {
    channelMaxCount: count("channelMaxCount"),
    frameMaxBytes: count("frameMaxBytes"),
    eventMaxBytes: count("eventMaxBytes"),
  };
};

/** @throws InvalidInputError */
export const toSettings = (options: LiveServerOptions): LiveSettings => {
  if (options.origins === "*" && options.authenticate !== undefined) {
    throw new InvalidInputError("origins", "*", "a list of exact origins when `authenticate` is used");
  }
  const limits = limitsOf(options.limits);
  const pingIntervalMs = checkMs("pingIntervalMs", options.pingIntervalMs ?? 25_000, 1);
  const pingTimeoutMs = checkMs("pingTimeoutMs", options.pingTimeoutMs ?? 10_000, 1);
  if (pingTimeoutMs > pingIntervalMs) {
    throw new InvalidInputError("pingTimeoutMs", pingTimeoutMs, `at most pingIntervalMs (${pingIntervalMs})`);
  }
  return {
    log: options.log,
    origins: options.origins,
    sameOrigin: options.sameOrigin ?? false,
    missingOrigin: options.missingOrigin ?? "refuse",
    path: options.path ?? "/ws/broadcast",
    limits,
    queueMaxBytes: checkCount("queueMaxBytes", options.queueMaxBytes ?? 1_048_576, 2 * limits.eventMaxBytes),
    connectionMaxCount: checkCount("connectionMaxCount", options.connectionMaxCount ?? 100_000, 1),
    pingIntervalMs,
    pingTimeoutMs,
    authenticateWithinMs: checkMs("authenticateWithinMs", options.authenticateWithinMs ?? 15_000, 1),
    expiryGraceMs: checkMs("expiryGraceMs", options.expiryGraceMs ?? 25_000, 0),
    hookTimeoutMs: checkMs("hookTimeoutMs", options.hookTimeoutMs ?? 10_000, 1),
    publishWaitMs: options.publishWaitMs ?? (() => undefined),
    authenticate: options.authenticate,
    authorize: options.authorize ?? (({ action }) => action === "subscribe"),
    clock: options.clock ?? systemClock,
    random: options.random ?? systemRandom,
    logger: options.logger ?? silentLogger,
  };
};
