import { toWireError } from "@holdfast/kernel";
import { authenticate, checkShape, decodeValue, encodeValue } from "@holdfast/protocol";
import type { Credential, Grant } from "../endpoint.ts";
import { AuthenticationFailedError } from "../errors.ts";
import { FIRST_LOGIN } from "./logins.ts";

export interface LoginJudgeOptions {
  /** What a credential allows; undefined refuses it. Itself undefined on the dialling side, which takes none. */
  readonly judge: ((credential: Credential | undefined) => Grant | undefined) | undefined;
  readonly remoteAddress: string;
  /** From now on the other side may ask for this. */
  readonly onGranted: (grant: Grant) => void;
  readonly answer: (sequence: bigint, payload: Uint8Array) => void;
}

/** Judges the credentials that the other side shows on an open connection. A refused one changes nothing. */
export class LoginJudge {
  readonly #options: LoginJudgeOptions;

  constructor(options: LoginJudgeOptions) {
    this.#options = options;
  }

  /** @throws InvalidMessageError, SerializationError when it is no credential. */
  onAuthenticate(sequence: bigint, payload: Uint8Array): void {
    const { answer, judge, onGranted, remoteAddress } = this.#options;
    // Lower numbers are those of the handshake, which the path repeated.
    if (judge === undefined || sequence < FIRST_LOGIN) return;
    const grant = judge(credentialIn(payload));
    if (grant !== undefined) onGranted(grant);
    answer(sequence, readyPayload(grant, remoteAddress));
  }
}

const credentialIn = (payload: Uint8Array): Credential | undefined => {
  const { token } = checkShape(authenticate, decodeValue(payload), "authenticate", "payload");
  return token === undefined ? undefined : { token };
};

/** The answer to a credential: what it allows, or that it was refused. */
const readyPayload = (grant: Grant | undefined, address: string): Uint8Array =>
  encodeValue(
    grant === undefined
      ? { scopes: [], error: toWireError(new AuthenticationFailedError(address)) }
      : { scopes: grant.scopes },
  );
