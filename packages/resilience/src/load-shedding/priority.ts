/**
 * How much the system needs a piece of work, from most to least:
 * - `critical`: liveness, cancellation, leadership, final results. Never refused for load.
 * - `high`: submission, dispatch, state sync.
 * - `normal`: progress, status, subscriptions.
 * - `low`: debugging and everything that nobody waits for.
 */
export type Priority = "critical" | "high" | "normal" | "low";

export const priorities: readonly Priority[] = ["critical", "high", "normal", "low"];
