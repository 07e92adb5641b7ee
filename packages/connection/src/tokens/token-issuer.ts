import { createHmac, timingSafeEqual } from "node:crypto";
import { type Clock, InvalidInputError, type Random, randomHex } from "@holdfast/kernel";
import type { Scope } from "@holdfast/protocol/contract";
import { z } from "zod";
import type { Credential, Grant } from "../endpoint.ts";
import { InvalidCredentialsError, TokenExpiredError } from "../errors.ts";
import { whole } from "../link/settings.ts";
import { Token } from "./token.ts";

export interface TokenIssuerOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** Signs the tokens; the same on all nodes that accept each other's. At least 32 bytes. */
  readonly secret: string | Uint8Array;
  /** Life of a token, milliseconds. Default 86_400_000, a day. */
  readonly ttlMs?: number;
}

/** A revocation may be forgotten when both clocks have passed these: one of them alone may have jumped. */
interface RevokedUntil {
  readonly monotonicAt: number;
  readonly wallAt: number;
}

const SECRET_MIN_BYTES = 32;
const TTL_MS = 86_400_000;

const body = z.object({
  id: z.string(),
  userId: z.string(),
  roles: z.array(z.string()),
  issuedAt: z.number(),
  expiresAt: z.number(),
});

/**
 * Issues and checks signed tokens: the fields as JSON, and their HMAC-SHA-256 of 32 bytes. A node that has the
 * secret checks a token without asking anyone; a token that was revoked is refused by this issuer until it would
 * have ended anyway, so revocation does not reach other nodes.
 */
export class TokenIssuer {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #secret: Uint8Array;
  readonly #ttlMs: number;
  /** Ids of revoked tokens, and when each has ended for certain; never more than were revoked within one life. */
  readonly #revoked = new Map<string, RevokedUntil>();

  /** @throws InvalidInputError when the secret is short or the time is not positive; the secret is not shown. */
  constructor(options: TokenIssuerOptions) {
    this.#clock = options.clock;
    this.#random = options.random;
    this.#secret = typeof options.secret === "string" ? Buffer.from(options.secret) : options.secret;
    if (this.#secret.length < SECRET_MIN_BYTES) {
      throw new InvalidInputError(
        "secret",
        `${this.#secret.length} bytes`,
        `at least ${SECRET_MIN_BYTES} bytes`,
      );
    }
    this.#ttlMs = whole("ttlMs", options.ttlMs ?? TTL_MS, { min: 1 });
  }

  issue(user: { readonly userId: string; readonly roles: readonly string[] }): Token {
    const issuedAt = this.#clock.wallNow();
    const fields = {
      id: randomHex(this.#random, 16),
      userId: user.userId,
      roles: [...user.roles],
      issuedAt,
      expiresAt: issuedAt + this.#ttlMs,
    };
    const text = Buffer.from(JSON.stringify(fields)).toString("base64url");
    return new Token(fields, `${text}.${this.#sign(text).toString("base64url")}`);
  }

  /** @throws InvalidCredentialsError when nobody issued it or it was revoked; TokenExpiredError. */
  verify(credential: Credential): Token {
    const fields = this.#read(credential);
    if (this.#revoked.has(fields.id)) throw new InvalidCredentialsError("the token was revoked");
    if (this.#clock.wallNow() > fields.expiresAt) throw new TokenExpiredError(fields.expiresAt);
    return new Token(fields, credential.token);
  }

  /**
   * Refuses the token from now on, on open connections too, also where the wall clock jumps ahead and back. A token that
   * is not ours is ignored.
   */
  revoke(credential: Credential): void {
    const now = this.#clock.monotonicNow();
    const wallNow = this.#clock.wallNow();
    for (const [id, { monotonicAt, wallAt }] of this.#revoked)
      if (now > monotonicAt && wallNow > wallAt) this.#revoked.delete(id);
    try {
      const { expiresAt, id, issuedAt } = this.#read(credential);
      this.#revoked.set(id, { monotonicAt: now + expiresAt - issuedAt, wallAt: expiresAt });
    } catch (error) {
      if (!(error instanceof InvalidCredentialsError)) throw error;
    }
  }

  /** For `ServerOptions.authenticate`: what the token of a connection allows. Undefined refuses it. */
  grant(credential: Credential | undefined, scopesOf: (token: Token) => readonly Scope[]): Grant | undefined {
    if (credential === undefined) return undefined;
    try {
      const token = this.verify(credential);
      const { id } = this.#read(credential);
      return {
        scopes: scopesOf(token),
        expiresAt: token.expiresAt,
        isValid: () => !this.#revoked.has(id),
      };
    } catch (error) {
      if (error instanceof InvalidCredentialsError || error instanceof TokenExpiredError) return undefined;
      throw error;
    }
  }

  #sign(text: string): Buffer {
    return createHmac("sha256", this.#secret).update(text).digest();
  }

  #read({ token }: Credential): z.output<typeof body> {
    const [text, signature, ...rest] = token.split(".");
    if (text === undefined || signature === undefined || rest.length > 0) {
      throw new InvalidCredentialsError("it is not a token of ours");
    }
    const given = Buffer.from(signature, "base64url");
    const expected = this.#sign(text);
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) {
      throw new InvalidCredentialsError("the signature does not fit");
    }
    return body.parse(JSON.parse(Buffer.from(text, "base64url").toString("utf8")));
  }
}
