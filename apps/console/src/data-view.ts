// What the channel `data` and `GET /api/data` carry: the data tier as the console's own process sees it. Positions of
// the log are text, since they exceed what a JSON number holds.

/** One part of the view. Parts fail alone: a Redis that is away hides no database. */
export type Part<T> =
  | { readonly kind: "shown"; readonly value: T }
  /** There is none here, and why, as one sentence. */
  | { readonly kind: "absent"; readonly why: string }
  /** It could not be read this time; `last` is what it was when it could, and when that was, wall clock. */
  | {
      readonly kind: "failed";
      readonly message: string;
      readonly last: { readonly value: T; readonly seenAt: number } | null;
    };

export interface DataTierView {
  readonly database: DatabasePart;
  readonly server: Part<ServerPart>;
  readonly nodes: Part<readonly NodePart[]>;
  /** Oldest first. */
  readonly failovers: Part<readonly FailoverPart[]>;
  readonly pool: PoolPart;
  readonly caches: Part<CachesPart>;
  readonly shards: Part<ShardsPart>;
  readonly backups: Part<BackupsPart>;
}

export interface DatabasePart {
  readonly kind: "embedded" | "postgres" | "cluster";
  readonly serverVersion: string;
  /** What an acknowledged commit survives. */
  readonly durability: "none" | "process-crash" | "power-loss" | "server";
  /** One word: `healthy`, or what is wrong. */
  readonly condition: string;
  readonly takesWrites: boolean;
  readonly takesReads: boolean;
  readonly timeline: number | null;
  readonly primary: string | null;
  readonly systemId: string | null;
  /** Patroni was told not to fail over by itself. */
  readonly isPaused: boolean;
  readonly scheduledSwitchover: { readonly at: string; readonly to: string | null } | null;
}

export interface ServerPart {
  readonly database: string;
  readonly user: string;
  /** For example "TLSv1.3"; null on a connection that is not encrypted. */
  readonly tls: string | null;
  readonly extensions: Readonly<Record<string, string>>;
  readonly startedAt: number;
  readonly sizeBytes: number;
  readonly connectionCount: number;
  readonly connectionMaxCount: number;
  readonly pageHitRate: number | null;
}

export interface NodePart {
  readonly name: string;
  readonly address: string | null;
  readonly role: "primary" | "replica" | "stale primary" | "unknown";
  /** `healthy`, `failed`, `foreign`, `unknown`, or the replication state of a replica that its primary told of. */
  readonly health: string;
  readonly timeline: number | null;
  readonly position: string | null;
  readonly lagBytes: number | null;
  readonly lagMs: number | null;
  /** Null: nobody here sends reads to replicas. */
  readonly takesReads: boolean | null;
  readonly problem: string | null;
}

export interface FailoverPart {
  /** The timeline that was left for the next. */
  readonly timeline: number;
  readonly endedAt: string;
  readonly at: number | null;
  readonly leader: string | null;
  readonly reason: string;
}

export interface PoolPart {
  readonly sessionMaxCount: number;
  readonly busyCount: number;
  readonly idleCount: number;
  readonly waitingCount: number;
  readonly statementCount: number;
  readonly statementFailedCount: number;
  readonly committedCount: number;
  readonly rolledBackCount: number;
  readonly unknownCount: number;
  readonly acquireTimeoutCount: number;
  readonly acquireWaitTotalMs: number;
  readonly sessionOpenedCount: number;
  readonly brokenCount: number;
}

export interface CachesPart {
  readonly server: {
    readonly version: string;
    readonly mode: string;
    readonly evictionPolicy: string;
    readonly pingMs: number;
    readonly warnings: readonly string[];
  } | null;
  readonly caches: readonly CachePart[];
}

export interface CachePart {
  readonly cache: string;
  readonly instance: string;
  readonly hitRate: number;
  readonly readCount: number;
  readonly nearHitCount: number;
  readonly sharedHitCount: number;
  readonly staleHitCount: number;
  readonly missCount: number;
  readonly bypassCount: number;
  readonly failedCount: number;
  /** Fills that came too late to be kept: each of them would have been an old value. */
  readonly fillRefusedCount: number;
  readonly invalidationCount: number;
  readonly auditCount: number;
  readonly inconsistentCount: number;
  readonly nearEntryCount: number;
  readonly breaker: string;
}

export interface ShardsPart {
  readonly citusVersion: string;
  readonly nodes: readonly {
    readonly host: string;
    readonly port: number;
    readonly isActive: boolean;
    readonly shardCount: number;
    readonly sizeBytes: number;
  }[];
  readonly tables: readonly {
    readonly table: string;
    readonly kind: string;
    readonly by: string | null;
    readonly shardCount: number;
    readonly sizeBytes: number;
    /** The largest shard as a multiple of the mean. */
    readonly skew: number;
  }[];
  /** The fullest node as a multiple of the mean. */
  readonly skew: number;
}

export interface BackupsPart {
  readonly count: number;
  readonly newest: BackupPart | null;
  readonly lastVerified: BackupPart | null;
  readonly lastRecovery: {
    readonly kind: "restore" | "drill";
    readonly at: string;
    readonly outcome: string;
    readonly target: string;
    readonly dataLossMs: number | null;
    readonly downtimeMs: number | null;
  } | null;
}

export interface BackupPart {
  readonly id: string;
  readonly finishedAt: string;
  readonly verifiedAt: string | null;
  readonly sizeBytes: number;
  readonly timeline: number;
  readonly isArchived: boolean;
}
