import { type Abortable, hasCode, InvalidInputError, withTimeout } from "@holdfast/kernel";
import { ForbiddenError, UnauthenticatedError } from "../errors.ts";
import { ANONYMOUS, type Identity, type LiveAction } from "./authorization.ts";
import type { LiveSettings } from "./server-options.ts";

/** Asks the application who may do what, with a time limit for each answer. */
export class Gatekeeper {
  readonly #settings: LiveSettings;

  constructor(settings: LiveSettings) {
    this.#settings = settings;
  }

  get asksForTokens(): boolean {
    return this.#settings.authenticate !== undefined;
  }

  /**
   * @throws UnauthenticatedError when the token is missing, wrong or already expired.
   * @throws InvalidInputError when the hook says that the token ends at what is no instant.
   * @throws TimeoutError, or what the hook throws when it fails by itself.
   */
  async identify(
    options: Abortable & { readonly token: string | undefined; readonly remoteAddress: string | undefined },
  ): Promise<Identity> {
    const { authenticate, clock, hookTimeoutMs } = this.#settings;
    if (authenticate === undefined) return ANONYMOUS;
    if (options.token === undefined) throw new UnauthenticatedError("no token was given");
    const { token, remoteAddress } = options;
    const identity = await withTimeout(
      clock,
      { operation: "authenticate", timeoutMs: hookTimeoutMs, signal: options.signal },
      (signal) => authenticate({ token, remoteAddress, signal }),
    );
    const { expiresAt } = identity;
    if (expiresAt !== undefined && !Number.isFinite(expiresAt)) {
      // As a number it would end every connection at once, and the clients would come back for ever.
      throw new InvalidInputError("identity.expiresAt", expiresAt, "wall milliseconds, or undefined");
    }
    if (expiresAt !== undefined && expiresAt <= clock.wallNow()) {
      throw new UnauthenticatedError("the token has expired");
    }
    return identity;
  }

  /**
   * @throws ForbiddenError naming the channel.
   * @throws TimeoutError, or what the hook throws when it fails by itself.
   */
  async permit(
    options: Abortable & {
      readonly identity: Identity;
      readonly action: LiveAction;
      readonly channel: string;
      readonly token: string | undefined;
    },
  ): Promise<void> {
    const { authorize, clock, hookTimeoutMs } = this.#settings;
    const { identity, action, channel, token } = options;
    // The usual rule answers at once: then there is no timer to set.
    const answer = authorize({ identity, action, channel, token, signal: options.signal });
    const isAllowed =
      typeof answer === "boolean"
        ? answer
        : await withTimeout(
            clock,
            { operation: "authorize", timeoutMs: hookTimeoutMs, signal: options.signal },
            () => answer,
          );
    if (!isAllowed)
      throw new ForbiddenError(`${action} on channel "${channel}" is not permitted`, {
        details: { channel },
      });
  }
}

export const isUnauthenticated = (error: unknown): boolean => hasCode(error, "LIVE_UNAUTHENTICATED");
