import { inspect } from "node:util";
import type { Credential } from "../endpoint.ts";

export interface TokenFields {
  readonly userId: string;
  readonly roles: readonly string[];
  /** Milliseconds since the epoch, by the clock of the issuer. */
  readonly issuedAt: number;
  /** Good until this instant, this instant included. */
  readonly expiresAt: number;
}

/** Proof of who someone is, for a while. Printing it or turning it into JSON does not show the proof itself. */
export class Token implements TokenFields {
  readonly userId: string;
  readonly roles: readonly string[];
  readonly issuedAt: number;
  readonly expiresAt: number;
  readonly #value: string;

  constructor(fields: TokenFields, value: string) {
    this.userId = fields.userId;
    this.roles = fields.roles;
    this.issuedAt = fields.issuedAt;
    this.expiresAt = fields.expiresAt;
    this.#value = value;
  }

  /** What is shown to a node. The only way to the proof: never log it. */
  get credential(): Credential {
    return { token: this.#value };
  }

  get ttlMs(): number {
    return this.expiresAt - this.issuedAt;
  }

  toJSON(): TokenFields {
    const { expiresAt, issuedAt, roles, userId } = this;
    return { userId, roles, issuedAt, expiresAt };
  }

  [inspect.custom](): string {
    return `Token of ${this.userId} until ${new Date(this.expiresAt).toISOString()}`;
  }
}
