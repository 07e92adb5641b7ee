import { hasCode, isHoldfastError, toWireError } from "@holdfast/kernel";

/**
 * Words in an error text that mean "try again", for nodes too old to say so by `retryable`. Compared as
 * lower-case substrings, and only where there is no code that tells more.
 */
export const TRANSIENT_PATTERNS: readonly string[] = Object.freeze([
  "syncing",
  "not ready",
  "election in progress",
  "no leader",
  "split brain",
  "rate limit",
  "overload",
  "too many",
  "server busy",
]);

/**
 * Codes that are final for one address or as such, and yet worth another try: the node may come up, or another
 * answers. What became of a request whose outcome is unknown is found out by asking again: each is safe to repeat.
 */
const WORTH_ANOTHER_NODE = new Set(["CONNECTION_REFUSED", "KERNEL_CLOSED", "KERNEL_OUTCOME_UNKNOWN"]);

/** Whether the same request may succeed later or at another node. */
export const isTransient = (error: unknown): boolean => {
  if (!isHoldfastError(error)) return false;
  if (error.retryable || WORTH_ANOTHER_NODE.has(error.code)) return true;
  if (error.code !== "KERNEL_INTERNAL" && error.code !== "UNKNOWN") return false;
  // Some say it as a word of code: `rate_limited`.
  const text = toWireError(error).message.toLowerCase().replaceAll("_", " ");
  return TRANSIENT_PATTERNS.some((pattern) => text.includes(pattern));
};

/** Whether the error says that the node could not be reached, as against answered. */
export const isUnreachable = (error: unknown): boolean =>
  isHoldfastError(error) && (error.code.startsWith("CONNECTION_") || error.code === "KERNEL_CLOSED");

/** Where a refusal says that the leader is. */
export const redirectOf = (error: unknown): string | undefined => {
  if (!hasCode(error, "JOBS_NOT_LEADER")) return undefined;
  const leader = error.details["leader"];
  if (typeof leader !== "object" || leader === null) return undefined;
  const { address } = leader as { readonly address?: unknown };
  return typeof address === "string" && address !== "" ? address : undefined;
};
