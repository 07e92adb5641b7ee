import { createSecureContext } from "node:tls";
import { InvalidInputError } from "@holdfast/kernel";

/** A text in PEM, or its bytes. */
export type Pem = string | Buffer;

/** What one side shows to the other: its certificate chain, and the private key of the first certificate in it. */
export interface TlsIdentity {
  readonly certificate?: Pem | undefined;
  readonly key?: Pem | undefined;
}

/**
 * Checks a certificate and its key, where there are any: without the key nothing would be shown, and the other side would
 * refuse every connection without a word of why. Neither is in the error.
 * @throws InvalidInputError naming `certificate` or `key`: one without the other, empty, not PEM, or no pair.
 */
export const checkIdentity = ({ certificate, key }: TlsIdentity): void => {
  if (certificate === undefined && key === undefined) return;
  const cert = required("certificate", certificate, "given with the key, in PEM");
  const secret = required("key", key, "given with the certificate, in PEM");
  check("certificate", cert, "a certificate chain in PEM", { cert });
  check("key", secret, "a private key in PEM that needs no passphrase", { key: secret });
  check("key", secret, "the private key of the certificate", { cert, key: secret });
};

/**
 * A server without an identity would listen, and every handshake would fail.
 * @throws InvalidInputError naming `certificate` or `key`.
 */
export const requireIdentity = ({ certificate, key }: TlsIdentity): void => {
  required("certificate", certificate, "given to listen: PEM");
  required("key", key, "given to listen: PEM");
};

/** What may be said of a secret. */
export const sizeOf = (pem: unknown): string =>
  typeof pem === "string" || Buffer.isBuffer(pem) ? `${Buffer.byteLength(pem)} bytes` : typeof pem;

const required = (field: string, pem: Pem | undefined, expected: string): Pem => {
  const isPem = typeof pem === "string" || Buffer.isBuffer(pem);
  if (!isPem || pem.length === 0) throw new InvalidInputError(field, sizeOf(pem), expected);
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
    throw new InvalidInputError(field, sizeOf(pem), expected, { cause });
  }
};
