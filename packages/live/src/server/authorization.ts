import type { Abortable } from "@holdfast/kernel";

/** Who is at the other end of a connection or request, as the application's `authenticate` says. */
export interface Identity {
  /** Shown in presence; a refresh must be by the same user. */
  readonly user?: string;
  /** When the token ends, wall milliseconds; undefined when it does not. */
  readonly expiresAt?: number;
  /** Anything `authorize` needs. Never sent to clients. */
  readonly claims?: unknown;
}

export const ANONYMOUS: Identity = {};

export type LiveAction = "subscribe" | "publish";

/** What the application decides. May call its back end: each call has a time limit and gets a signal. */
export interface AccessRules {
  /**
   * Turns a token into an identity. Without this hook everybody is anonymous, and tokens are ignored.
   * @throws UnauthenticatedError when the token is not valid: the client stops trying. Any other error counts as a
   * failure of ours, and the client tries again.
   */
  readonly authenticate?: (
    request: Abortable & {
      readonly token: string | undefined;
      readonly remoteAddress: string | undefined;
    },
  ) => Promise<Identity>;
  /** Whether the identity may do this. Default: everybody may subscribe, nobody may publish. Asked again after a refresh. */
  readonly authorize?: (
    request: Abortable & {
      readonly identity: Identity;
      readonly action: LiveAction;
      readonly channel: string;
      /** The token given for this channel alone, if any. */
      readonly token: string | undefined;
    },
  ) => boolean | Promise<boolean>;
}

/**
 * Whether a page of this origin may connect. Exact comparison of scheme, host and port: a prefix or a suffix of an
 * allowed origin is another origin.
 */
export const allowsOrigin = (
  headers: { readonly origin?: string | undefined; readonly host?: string | undefined },
  rules: {
    readonly origins: readonly string[] | "*";
    readonly missingOrigin: "refuse" | "allow";
    readonly sameOrigin?: boolean;
  },
): boolean => {
  const { origin, host } = headers;
  if (rules.origins === "*") return true;
  if (origin === undefined) return rules.missingOrigin === "allow";
  if (rules.sameOrigin === true && (origin === `http://${host}` || origin === `https://${host}`)) return true;
  return rules.origins.includes(origin);
};
