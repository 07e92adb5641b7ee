/**
 * Why a server ends a connection. 4000 to 4399: try again; 4400 to 4499: the same attempt would end the same way,
 * so a client stops and tells its owner.
 */
export const CLOSE_CODES = {
  /** The server goes away; come back, here or elsewhere, spread over the hint of `bye`. */
  shutdown: 4000,
  /** The client read too slowly and its queue was full. History repairs what it missed. */
  slow: 4001,
  /** The token expired and was not refreshed within the grace. */
  expired: 4002,
  /** The server cannot go on with the positions of this connection, or failed inside. */
  failed: 4003,
  /** No pong in time. */
  unresponsive: 4004,
  /** No hello, or no valid token, within the time to authenticate. */
  silent: 4005,
  badRequest: 4400,
  unauthenticated: 4401,
  forbidden: 4403,
  tooLarge: 4413,
  limit: 4429,
} as const;

export type CloseReason = keyof typeof CLOSE_CODES;

/** Whether a client must not try again after this code. */
export const isTerminalCode = (code: number): boolean => code >= 4400 && code <= 4499;
