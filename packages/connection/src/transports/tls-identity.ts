import { createSecureContext } from "node:tls";
import { InvalidInputError } from "@holdfast/kernel";

type Pem = string | Buffer;

/**
 * Checks that a server can show who it is: without a certificate and its key it would listen, and every handshake would
 * fail. Neither is in the error.
 * @throws InvalidInputError naming `certificate` or `key`: missing, not PEM, or a key of another certificate.
 */
export const checkServerIdentity = (identity: {
  readonly certificate?: Pem | undefined;
  readonly key?: Pem | undefined;
}): void => {
  const cert = required("certificate", identity.certificate);
  const key = required("key", identity.key);
  check("certificate", cert, "a certificate chain in PEM", { cert });
  check("key", key, "a private key in PEM that needs no passphrase", { key });
  check("key", key, "the private key of the certificate", { cert, key });
};

const required = (field: string, pem: Pem | undefined): Pem => {
  if (pem === undefined || pem.length === 0) throw new InvalidInputError(field, pem, "given to listen: PEM");
  return pem;
};

const check = (
  field: string,
  pem: Pem,
  expected: string,
  secrets: { readonly cert?: Pem; readonly key?: Pem },
): void => {
  try {
    createSecureContext(secrets);
  } catch (cause) {
    throw new InvalidInputError(field, `${Buffer.byteLength(pem)} bytes`, expected, { cause });
  }
};
