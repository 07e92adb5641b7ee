import type { Abortable } from "@holdfast/kernel";
import type { Credential } from "../endpoint.ts";
import { InvalidCredentialsError } from "../errors.ts";

/** Where a client takes the credential that it shows to nodes. */
export interface TokenSource {
  /** A credential that is good now; waits for one where needed. */
  credential(options: Abortable): Promise<Credential | undefined>;
  /**
   * A node said that `refused` has expired: a newer one. However many callers ask, one authentication happens.
   * @throws InvalidCredentialsError, and what the authentication throws.
   */
  renew(refused: Credential | undefined, options: Abortable): Promise<Credential>;
  /** The client goes away: makes the credential worthless, as well as that is possible. */
  end(options: Abortable): Promise<void>;
}

/** One credential for ever, or none. */
export const fixedCredential = (credential: Credential | undefined): TokenSource => ({
  credential: async () => credential,
  renew: async () => {
    throw new InvalidCredentialsError("a fixed credential cannot be renewed");
  },
  end: async () => undefined,
});
