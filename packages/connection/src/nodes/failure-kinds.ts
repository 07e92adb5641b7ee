import { isHoldfastError, RemoteError, TimeoutError } from "@holdfast/kernel";
import { isRefusal } from "@holdfast/resilience";
import { NOT_BEGUN } from "../link/incoming-requests.ts";

// What an error says about the node that was asked.

/** The connection could not be opened or used, so that nothing was sent: another node may be asked at once. */
const UNSENT: ReadonlySet<string> = new Set([
  "CONNECTION_REFUSED",
  "CONNECTION_TIMEOUT",
  "CONNECTION_NETWORK",
  "CONNECTION_TLS",
  "CONNECTION_OVERLOADED",
  "CONNECTION_DRAINING",
  "CONNECTION_POOL_EXHAUSTED",
  // The node was taken off the list meanwhile.
  "CONNECTION_POOL_CLOSED",
  // Another node may be of a newer version.
  "CONNECTION_UNSUPPORTED_FEATURE",
  "PROTOCOL_VERSION_MISMATCH",
]);

/** Says nothing about the health of the node: it closes as it should, we asked too much of it, or it is of an older version. */
const NO_FAULT: ReadonlySet<string> = new Set([
  "CONNECTION_DRAINING",
  "CONNECTION_OVERLOADED",
  "CONNECTION_POOL_EXHAUSTED",
  "CONNECTION_POOL_CLOSED",
  "CONNECTION_UNSUPPORTED_FEATURE",
  // A mistake of the program.
  "CONNECTION_LEASE_RELEASED",
  "KERNEL_CLOSED",
]);

/** Refused by the node or by us, before anything was done; what the node says came from a living node. */
const isLocal = (error: unknown): boolean => isHoldfastError(error) && !(error instanceof RemoteError);

/** While a connection was being opened: whether another node should be tried within the same attempt. */
export const isConnectFailure = (error: unknown): boolean =>
  isLocal(error) &&
  isHoldfastError(error) &&
  (UNSENT.has(error.code) ||
    error.code === "CONNECTION_LOST" ||
    error.code.startsWith("PROTOCOL_") ||
    error instanceof TimeoutError);

/** After a request was handed to an open connection: whether it certainly did not leave. */
export const wasNotSent = (error: unknown): boolean =>
  isLocal(error) && isHoldfastError(error) && (UNSENT.has(error.code) || error.code === "KERNEL_OVERLOADED");

/** Whether the node is to blame: it did not answer in time, or its connection broke. */
export const isNodeFailure = (error: unknown): boolean =>
  isLocal(error) &&
  isHoldfastError(error) &&
  !NO_FAULT.has(error.code) &&
  (error.code.startsWith("CONNECTION_") ||
    error.code === "PROTOCOL_VERSION_MISMATCH" ||
    error instanceof TimeoutError);

/**
 * Whether the request certainly had no effect, so that even one that must not be repeated may be sent again. What a
 * handler threw is no proof: it may have been refused something in the midst of its work.
 */
export const hadNoEffect = (error: unknown): boolean =>
  isRefusal(error) && !(error instanceof RemoteError && error.details[NOT_BEGUN] !== true);

/**
 * Whether the node refused the request because our token expired, before it was begun: with a fresh one it may be asked
 * again, whatever it does. What a handler says of a token, ours or another, is an answer: it may have acted before.
 */
export const isTokenExpired = (error: unknown): boolean =>
  error instanceof RemoteError &&
  error.code === "AUTHENTICATION_TOKEN_EXPIRED" &&
  error.details[NOT_BEGUN] === true;
