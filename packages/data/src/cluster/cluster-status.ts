import type { SwitchoverAnswer } from "./patroni-client.ts";

export type NodeRole = "primary" | "replica";

/** One server as it was seen last. */
export interface NodeStatus {
  readonly name: string;
  /** `host:port` under which we reach it. */
  readonly address: string;
  /** `unknown` until it was probed, `failed` while it does not answer, `foreign` for another database system. */
  readonly health: "unknown" | "healthy" | "failed" | "foreign";
  /** As the server itself says; undefined until it was probed. Kept while it does not answer. */
  readonly role: NodeRole | undefined;
  readonly timeline: number | undefined;
  /** What a primary has flushed, a replica replayed. */
  readonly lsn: bigint | undefined;
  /** What a replica has received, replayed or not; the same as `lsn` on a primary. */
  readonly receivedLsn: bigint | undefined;
  /**
   * Bytes that the replica has not replayed yet. 0 for the primary; undefined when it cannot be told: no primary, no
   * answer, or a timeline that the primary left.
   */
  readonly lagBytes: bigint | undefined;
  /**
   * How long ago the primary was where the replica is now, in milliseconds; 0 when it has replayed everything, so an
   * idle primary shows no lag. Undefined like `lagBytes`, and while the replica is behind all that we have seen.
   */
  readonly lagMs: number | undefined;
  /** Whether reads may go there now. */
  readonly takesReads: boolean;
  /** A primary that must not be written to: a newer timeline exists. */
  readonly isStale: boolean;
  /** Milliseconds since it was probed with success; undefined: never. */
  readonly checkedAgoMs: number | undefined;
  /** Why it is not healthy. */
  readonly problem: string | undefined;
}

/** What works and what does not. `takesWrites` and `takesReads` say it for a program, `kind` for a person. */
export type ClusterCondition =
  /** A primary, and every replica within the bound. */
  | { readonly kind: "healthy"; readonly takesWrites: true; readonly takesReads: true }
  /** A primary and at least one replica; the named ones are down or not replicating. */
  | {
      readonly kind: "degraded";
      readonly takesWrites: true;
      readonly takesReads: true;
      readonly nodes: readonly string[];
    }
  /** Every replica is further behind than the bound, the named ones; the primary serves the reads. */
  | {
      readonly kind: "replica-lag";
      readonly takesWrites: true;
      readonly takesReads: true;
      readonly nodes: readonly string[];
    }
  /** A primary alone: the next failure stops everything. */
  | { readonly kind: "no-replica"; readonly takesWrites: true; readonly takesReads: true }
  /** Synchronous replication without a replica that could confirm: commits wait. */
  | { readonly kind: "write-blocked"; readonly takesWrites: false; readonly takesReads: true }
  /** No primary. Replicas, if there are any, serve what they have. */
  | { readonly kind: "no-primary"; readonly takesWrites: false; readonly takesReads: boolean }
  /** Two servers take themselves for the primary of the same timeline: nobody may be written to. */
  | {
      readonly kind: "split-brain";
      readonly takesWrites: false;
      readonly takesReads: boolean;
      readonly nodes: readonly string[];
    }
  /** A planned switchover is under way; writes wait for its end. */
  | { readonly kind: "switching-over"; readonly takesWrites: false; readonly takesReads: boolean }
  /** Nothing answers. */
  | { readonly kind: "down"; readonly takesWrites: false; readonly takesReads: false };

export interface ClusterStatus {
  readonly condition: ClusterCondition;
  /** PostgreSQL's system identifier; undefined until a server was seen. */
  readonly systemId: string | undefined;
  /** The newest timeline that was seen anywhere: no older one is ever written to. */
  readonly timeline: number | undefined;
  readonly primary: string | undefined;
  readonly nodes: readonly NodeStatus[];
  readonly healthyCount: number;
  /** Patroni was told not to fail over by itself. */
  readonly isPaused: boolean;
  readonly scheduledSwitchover: { readonly at: string; readonly to: string | undefined } | undefined;
  /** How the members were found last: not at all means that the last map is kept. */
  readonly discovery: "patroni" | "hosts" | "proxy" | "none";
  /** Milliseconds since the last round of probes; undefined before the first. */
  readonly checkedAgoMs: number | undefined;
}

/** The primary changed, or went, or came. */
export interface PrimaryChange {
  readonly from: string | undefined;
  readonly to: string | undefined;
  readonly timeline: number | undefined;
  /** Where the new timeline left the old one; undefined when nothing tells. */
  readonly forkLsn: bigint | undefined;
  /**
   * Bytes of the old primary's log that were seen and are not part of the new timeline. With synchronous replication
   * these are writes nobody was told about; without, acknowledged ones may be among them.
   */
  readonly leftBehindBytes: bigint | undefined;
}

export interface ClusterEvents {
  readonly condition: { readonly from: ClusterCondition; readonly to: ClusterCondition };
  readonly primary: PrimaryChange;
}

export interface SwitchoverReport {
  readonly from: string;
  readonly to: string;
  readonly timeline: number;
  /** Milliseconds during which writes waited. */
  readonly pausedMs: number;
  /** Writes that waited out the pause. */
  readonly waitedCount: number;
  /** Calls that were still under way at the moment of the change; they may have been cut, and were told so then. */
  readonly lateCount: number;
}

export type { SwitchoverAnswer };
