/** Same major: compatible. The minor grows with each feature. */
export const PROTOCOL_VERSION = "1.5";

/**
 * The features of the protocol and the minor version (of major 1) that brought each. A side that speaks an
 * older minor cannot have the feature, whatever it claims.
 */
export const PROTOCOL_FEATURES: Readonly<Record<string, number>> = {
  job_submission: 0,
  workflow_dispatch: 0,
  heartbeat: 0,
  cancellation: 0,
  batched_stats: 1,
  stats_compression: 1,
  client_reconnection: 2,
  fence_tokens: 2,
  idempotency_keys: 2,
  rate_limiting: 3,
  retry_after: 3,
  healthcheck_extensions: 4,
  health_piggyback: 4,
  three_signal_health: 4,
  streaming: 5,
};

export interface Version {
  readonly major: number;
  readonly minor: number;
}

/** Reads `major.minor`; anything else, a missing field included, reads as 1.0, the version before there was a field. */
export const parseVersion = (text: string | undefined): Version => {
  const match = /^(\d{1,6})\.(\d{1,6})$/.exec(text ?? "");
  return match === null ? { major: 1, minor: 0 } : { major: Number(match[1]), minor: Number(match[2]) };
};

export interface Negotiation {
  readonly compatible: boolean;
  /** What both sides have, sorted; empty when they are not compatible. */
  readonly features: readonly string[];
}

/**
 * What two sides can do together: the intersection of their features, less those that came later than the
 * older side's minor version. Names that only one side knows are ignored.
 */
export const negotiate = (
  local: { readonly version: string | undefined; readonly features: readonly string[] },
  remote: { readonly version: string | undefined; readonly features: readonly string[] },
): Negotiation => {
  const ours = parseVersion(local.version);
  const theirs = parseVersion(remote.version);
  if (ours.major !== theirs.major) return { compatible: false, features: [] };
  const minor = Math.min(ours.minor, theirs.minor);
  const offered = new Set(remote.features);
  const common = local.features.filter((name) => offered.has(name) && minorOf(name) <= minor);
  return { compatible: true, features: [...new Set(common)].sort() };
};

const minorOf = (feature: string): number =>
  Object.hasOwn(PROTOCOL_FEATURES, feature) ? (PROTOCOL_FEATURES[feature] as number) : 0;
