import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { UnauthenticatedError } from "@holdfast/live/model";
import type { Identity } from "@holdfast/live/server";

/** Short-lived tokens for the live connection: who it is and until when, signed by this process. */
export class Sessions {
  readonly #secret = randomBytes(32);
  readonly #ttlMs: number;

  constructor(ttlMs: number) {
    this.#ttlMs = ttlMs;
  }

  issue(user: string): string {
    const claim = Buffer.from(JSON.stringify({ user, expiresAt: Date.now() + this.#ttlMs })).toString(
      "base64url",
    );
    return `${claim}.${this.#sign(claim)}`;
  }

  /** @throws UnauthenticatedError */
  check(token: string | undefined): Identity {
    const [claim = "", signature = ""] = (token ?? "").split(".");
    const expected = Buffer.from(this.#sign(claim));
    const given = Buffer.from(signature);
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) {
      throw new UnauthenticatedError("the token was not issued by this shop");
    }
    return JSON.parse(Buffer.from(claim, "base64url").toString()) as Identity;
  }

  #sign(claim: string): string {
    return createHmac("sha256", this.#secret).update(claim).digest("base64url");
  }
}
