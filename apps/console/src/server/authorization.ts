import type { Scope } from "@holdfast/protocol/contract";

/** The scopes of a token, or undefined when it is not known. */
export type TokenCheck = (credential: { readonly token: string } | undefined) => readonly Scope[] | undefined;

/** The token of an `Authorization: Bearer …` header. */
export const bearerToken = (header: string | undefined): string | undefined =>
  /^Bearer (\S+)$/i.exec(header ?? "")?.[1];

export const allows = (check: TokenCheck, token: string | undefined, scope: Scope): boolean =>
  check(token === undefined ? undefined : { token })?.includes(scope) ?? false;
