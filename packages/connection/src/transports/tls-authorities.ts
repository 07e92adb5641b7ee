import { X509Certificate } from "node:crypto";
import { InvalidInputError } from "@holdfast/kernel";
import { type Pem, sizeOf } from "./tls-identity.ts";

/** One certificate as OpenSSL finds it: what is indented, or cut short, it passes over. */
const CERTIFICATE = /^-----BEGIN ((?:X509 |TRUSTED )?CERTIFICATE)-----.*?^-----END \1-----/gms;
const BEGINNING = /-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----/g;

/**
 * Checks that each of the authorities can be read. OpenSSL says nothing of those that it cannot read: it trusts the
 * others, or nobody at all, or, where the text is empty, everybody that Node trusts.
 * @throws InvalidInputError naming `authorities`, with the index of the text that is wrong; the text is not shown.
 */
export const checkAuthorities = (authorities: Pem | readonly Pem[] | undefined): void => {
  if (authorities === undefined) return;
  if (!Array.isArray(authorities)) {
    check("authorities", authorities as Pem);
    return;
  }
  if (authorities.length === 0) throw wrong("authorities", "an empty list");
  for (const [index, pem] of authorities.entries()) check(`authorities[${index}]`, pem);
};

const check = (field: string, pem: Pem): void => {
  const isPem = typeof pem === "string" || Buffer.isBuffer(pem);
  const text = isPem ? pem.toString() : "";
  const found = text.match(CERTIFICATE) ?? [];
  if (found.length === 0 || found.length !== text.match(BEGINNING)?.length) throw wrong(field, sizeOf(pem));
  for (const certificate of found) {
    try {
      new X509Certificate(certificate);
    } catch (cause) {
      throw wrong(field, sizeOf(pem), cause);
    }
  }
};

const wrong = (field: string, value: string, cause?: unknown): InvalidInputError =>
  new InvalidInputError(field, value, "one or more certificates in PEM, each of them whole", { cause });
