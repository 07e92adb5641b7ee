import {
  type Abortable,
  type Clock,
  type Logger,
  silentLogger,
  untilAborted,
  withTimeout,
} from "@holdfast/kernel";
import type { Credential } from "../endpoint.ts";
import { InvalidCredentialsError } from "../errors.ts";
import { share, whole } from "../link/settings.ts";
import type { Token } from "./token.ts";
import type { TokenSource } from "./token-source.ts";

/** How an application proves who it is. */
export interface Authenticator {
  /** With user name and password, a certificate, or whatever else there is. */
  authenticate(options: { readonly signal: AbortSignal }): Promise<Token>;
  /** A token that lives longer, for the same user and roles. Default: authenticates anew. */
  refresh?(token: Token, options: { readonly signal: AbortSignal }): Promise<Token>;
  /** Makes the token worthless. Default: it is only forgotten. */
  logout?(token: Token, options: { readonly signal: AbortSignal }): Promise<void>;
}

export interface TokenKeeperOptions {
  readonly clock: Clock;
  readonly authenticator: Authenticator;
  readonly logger?: Logger;
  /** Share of a token's life after which the next use starts its renewal, above 0 and up to 1. Default 0.8. */
  readonly renewAtShare?: number;
  /** Longest authentication, refresh or logout, whole milliseconds, at least 1. Default 5_000. */
  readonly timeoutMs?: number;
}

const RENEW_AT_SHARE = 0.8;
const TIMEOUT_MS = 5_000;

interface Kept {
  readonly token: Token;
  /** Monotonic. */
  readonly renewAt: number;
  readonly endsAt: number;
}

/** After a renewal in the background failed, the next one waits this long: the token is still good. */
const RENEW_PAUSE_MS = 1_000;

/**
 * Keeps one token that is good: authenticates when there is none, renews it in the background while it is still
 * good. One authentication at a time, however many wait for it. Sets no timer: renewal starts with a use.
 *
 * Life is counted on our own monotonic clock from the moment when we asked, so a clock that differs from the
 * issuer's, or jumps, makes no token look good that is not.
 */
export class TokenKeeper implements TokenSource {
  readonly #options: TokenKeeperOptions;
  readonly #renewAtShare: number;
  readonly #timeoutMs: number;
  readonly #logger: Logger;
  readonly #ended = new AbortController();
  #kept: Kept | undefined;
  #renewing: Promise<Token> | undefined;
  #pauseUntil = 0;

  /** @throws InvalidInputError naming the option that is out of range. */
  constructor(options: TokenKeeperOptions) {
    this.#options = options;
    this.#renewAtShare = share("renewAtShare", options.renewAtShare ?? RENEW_AT_SHARE);
    this.#timeoutMs = whole("timeoutMs", options.timeoutMs ?? TIMEOUT_MS, { min: 1 });
    this.#logger = options.logger ?? silentLogger;
  }

  /** The token now, also one that has ended. */
  get token(): Token | undefined {
    return this.#kept?.token;
  }

  /** Never negative. */
  get timeLeftMs(): number {
    return Math.max(0, (this.#kept?.endsAt ?? 0) - this.#options.clock.monotonicNow());
  }

  /**
   * A token that is good now.
   * @throws what the authenticator throws; TimeoutError; InvalidCredentialsError after `logout` or `end`; signal.reason,
   * while the authentication goes on for the others.
   */
  async valid({ signal }: Abortable = {}): Promise<Token> {
    this.#requireUse();
    const now = this.#options.clock.monotonicNow();
    const kept = this.#kept;
    if (kept === undefined || now > kept.endsAt) return untilAborted(this.#renew(), signal);
    if (now >= kept.renewAt && now >= this.#pauseUntil) {
      this.#renew().catch((error: unknown) => {
        this.#logger.warn({ err: error }, "the token could not be renewed yet; it is still good");
      });
    }
    return kept.token;
  }

  /** A newer token, also when the present one is good. @throws InvalidCredentialsError when there is none yet. */
  async refresh({ signal }: Abortable = {}): Promise<Token> {
    this.#requireUse();
    if (this.#kept === undefined) throw noToken();
    return untilAborted(this.#renew(), signal);
  }

  /** Makes the token worthless and forgets it; later uses fail. @throws InvalidCredentialsError when there is none. */
  async logout({ signal }: Abortable = {}): Promise<void> {
    const token = this.#kept?.token;
    if (token === undefined) throw noToken();
    this.#kept = undefined;
    this.#ended.abort(new InvalidCredentialsError("logged out"));
    const { authenticator, clock } = this.#options;
    const limit = { operation: "logging out", timeoutMs: this.#timeoutMs, signal };
    await withTimeout(clock, limit, async (limited) => authenticator.logout?.(token, { signal: limited }));
  }

  async credential(options: Abortable): Promise<Credential> {
    return (await this.valid(options)).credential;
  }

  async renew(refused: Credential | undefined, options: Abortable): Promise<Credential> {
    this.#requireUse();
    const kept = this.#kept;
    const isNewer = kept !== undefined && kept.token.credential.token !== refused?.token;
    if (isNewer && this.timeLeftMs > 0) return kept.token.credential;
    // The node knows better than our clock: the refused token is no basis for a refresh.
    if (this.#renewing === undefined) this.#kept = undefined;
    return (await untilAborted(this.#renew(), options.signal)).credential;
  }

  /**
   * Logs out where there is a token, and gives up the authentication under way where there is none; later uses fail with
   * InvalidCredentialsError, as does whoever waits. Idempotent. @throws as `logout`.
   */
  async end(options: Abortable): Promise<void> {
    if (this.#kept !== undefined) await this.logout(options);
    else this.#ended.abort(new InvalidCredentialsError("logged out"));
  }

  #renew(): Promise<Token> {
    this.#renewing ??= this.#obtain()
      .catch((error: unknown) => {
        this.#pauseUntil = this.#options.clock.monotonicNow() + RENEW_PAUSE_MS;
        throw error;
      })
      .finally(() => {
        this.#renewing = undefined;
      });
    return this.#renewing;
  }

  async #obtain(): Promise<Token> {
    const { authenticator, clock } = this.#options;
    const askedAt = clock.monotonicNow();
    const old = this.#kept;
    const limit = { operation: "authentication", timeoutMs: this.#timeoutMs, signal: this.#ended.signal };
    const token = await withTimeout(clock, limit, async (signal) =>
      old !== undefined && askedAt <= old.endsAt && authenticator.refresh !== undefined
        ? authenticator.refresh(old.token, { signal })
        : authenticator.authenticate({ signal }),
    );
    // It may have come just before the end.
    this.#requireUse();
    this.#kept = {
      token,
      renewAt: askedAt + this.#renewAtShare * token.ttlMs,
      endsAt: askedAt + token.ttlMs,
    };
    return token;
  }

  #requireUse(): void {
    this.#ended.signal.throwIfAborted();
  }
}

const noToken = (): InvalidCredentialsError =>
  new InvalidCredentialsError("there is no token yet; authenticate first");
