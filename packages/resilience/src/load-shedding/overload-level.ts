/** How loaded a node is, from best to worst. */
export type OverloadLevel = "healthy" | "busy" | "stressed" | "overloaded";

/** From best to worst: the index is the severity. */
export const overloadLevels: readonly OverloadLevel[] = ["healthy", "busy", "stressed", "overloaded"];

/** Where the level comes from: an {@link OverloadDetector}, or anything else that knows it. Must be cheap and must not throw. */
export interface OverloadSource {
  readonly level: OverloadLevel;
}

/** The level `severity` steps above healthy; severities beyond the scale count as its ends. */
export const levelOf = (severity: number): OverloadLevel =>
  overloadLevels[Math.min(Math.max(Math.trunc(severity), 0), overloadLevels.length - 1)] ?? "overloaded";

export const severityOf = (level: OverloadLevel): number => overloadLevels.indexOf(level);
