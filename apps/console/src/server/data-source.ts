import {
  type BackupRecord,
  type BackupRepository,
  type ClusterDatabase,
  type ClusterStatus,
  type Database,
  describeCacheServer,
  formatLsn,
  type NodeStatus,
  type RecoveryRecord,
  type Redis,
  readCacheReports,
  readServerFacts,
  readServerOverview,
  readWholePlacement,
  type ServerOverview,
} from "@holdfast/data";
import type { Clock } from "@holdfast/kernel";
import type {
  BackupPart,
  BackupsPart,
  CachesPart,
  DatabasePart,
  DataTierView,
  FailoverPart,
  NodePart,
  Part,
  PoolPart,
  ServerPart,
  ShardsPart,
} from "../data-view.ts";
import { problemOf } from "./problem-of.ts";
import { Remembered } from "./remembered.ts";

export interface DataSourceOptions {
  /** The database of this process; the source does not close it, nor anything else here. */
  readonly database: Database;
  /** Where the caches live whose hit rates are shown. */
  readonly redis?: Redis | undefined;
  readonly backups?: BackupRepository | undefined;
  readonly clock: Clock;
}

/** What the console's page about data shows. */
export interface DataSource {
  look(signal: AbortSignal): Promise<DataTierView>;
}

/** Roles, lag and pools are as of the look itself; these parts cost the servers more and change seldom. */
const SIZES_EVERY_MS = 10_000;
const HISTORY_EVERY_MS = 5_000;
const CACHES_EVERY_MS = 2_000;
const BACKUPS_EVERY_MS = 15_000;
/** A part that takes longer has failed for this look, and the others are shown. */
const PART_TIMEOUT_MS = 3_000;

const isCluster = (database: Database): database is ClusterDatabase => database.kind === "cluster";

/** Looks at one database and what belongs to it. Every part may fail alone, and says why. */
export const createDataSource = (options: DataSourceOptions): DataSource => {
  const { database, redis, backups, clock } = options;
  const overview = new Remembered(clock, SIZES_EVERY_MS, (signal) =>
    readServerOverview(database, { signal }),
  );
  const facts = new Remembered(clock, SIZES_EVERY_MS, (signal) => readServerFacts(database, { signal }));
  const shards = new Remembered(clock, SIZES_EVERY_MS, () => readShards(database));
  const failovers = new Remembered(clock, HISTORY_EVERY_MS, (signal) => readFailovers(database, signal));
  const caches = new Remembered(clock, CACHES_EVERY_MS, (signal) => readCaches(redis, clock, signal));
  const backed = new Remembered(clock, BACKUPS_EVERY_MS, () => readBackups(database, backups));
  const lastShown = new Map<string, { readonly value: unknown; readonly seenAt: number }>();
  return {
    look: async (signal) => {
      const within = AbortSignal.any([signal, AbortSignal.timeout(PART_TIMEOUT_MS)]);
      const part = async <T>(
        name: string,
        from: Pick<Remembered<unknown>, "readAt">,
        read: () => Promise<Part<T>>,
      ): Promise<Part<T>> => {
        try {
          const seen = await read();
          if (seen.kind === "shown") lastShown.set(name, { value: seen.value, seenAt: from.readAt });
          return seen;
        } catch (error) {
          signal.throwIfAborted();
          const last = lastShown.get(name) as { readonly value: T; readonly seenAt: number } | undefined;
          const message = within.aborted ? NO_ANSWER : problemOf(error);
          return { kind: "failed", message, last: last ?? null };
        }
      };
      const seen = part("overview", overview, async () => ({
        kind: "shown",
        value: await overview.get(within),
      }));
      const [server, nodes, history, cached, sharded, kept] = await Promise.all([
        part("server", overview, async () => ({
          kind: "shown",
          value: serverPart(await overview.get(within), await facts.get(within)),
        })),
        part("nodes", isCluster(database) ? { readAt: clock.wallNow() } : overview, () =>
          readNodes(database, overview, within),
        ),
        part("failovers", failovers, () => failovers.get(within)),
        part("caches", caches, () => caches.get(within)),
        part("shards", shards, () => shards.get(within)),
        part("backups", backed, () => backed.get(within)),
      ]);
      return {
        database: databasePart(database, await seen),
        server,
        nodes,
        failovers: history,
        pool: poolPart(database),
        caches: cached,
        shards: sharded,
        backups: kept,
      };
    },
  };
};

const NO_ANSWER = `no answer within ${PART_TIMEOUT_MS / 1_000} s`;
const EMBEDDED = "this process runs on an embedded database";

const databasePart = (database: Database, overview: Part<ServerOverview>): DatabasePart => {
  const { kind, serverVersion, durability } = database;
  const about = { kind, serverVersion, durability };
  if (isCluster(database)) {
    const { condition, timeline, primary, systemId, isPaused, scheduledSwitchover } = database.status();
    return {
      ...about,
      condition: condition.kind,
      takesWrites: condition.takesWrites,
      takesReads: condition.takesReads,
      timeline: timeline ?? null,
      primary: primary ?? null,
      systemId: systemId ?? null,
      isPaused,
      scheduledSwitchover:
        scheduledSwitchover === undefined
          ? null
          : { at: scheduledSwitchover.at, to: scheduledSwitchover.to ?? null },
    };
  }
  const answers = overview.kind === "shown";
  return {
    ...about,
    condition: answers ? (overview.value.isReplica ? "read-only" : "healthy") : "down",
    takesWrites: answers && !overview.value.isReplica,
    takesReads: answers,
    timeline: answers ? (overview.value.timeline ?? null) : null,
    primary: null,
    systemId: null,
    isPaused: false,
    scheduledSwitchover: null,
  };
};

const serverPart = (
  overview: ServerOverview,
  facts: Awaited<ReturnType<typeof readServerFacts>>,
): ServerPart => ({
  database: facts.database,
  user: facts.user,
  tls: facts.tls?.version ?? null,
  extensions: facts.extensions,
  startedAt: overview.startedAt,
  sizeBytes: overview.sizeBytes,
  connectionCount: overview.connectionCount,
  connectionMaxCount: overview.connectionMaxCount,
  pageHitRate: overview.pageHitRate ?? null,
});

const readNodes = async (
  database: Database,
  overview: Remembered<ServerOverview>,
  signal: AbortSignal,
): Promise<Part<readonly NodePart[]>> => {
  if (isCluster(database)) return { kind: "shown", value: clusterNodes(database.status()) };
  const { isReplica, timeline, position, replicas } = await overview.get(signal);
  const name = database.kind === "embedded" ? "this process" : "this server";
  const self: NodePart = {
    name,
    address: null,
    role: isReplica ? "replica" : "primary",
    health: "healthy",
    timeline: timeline ?? null,
    position: position ?? null,
    lagBytes: isReplica ? null : 0,
    lagMs: isReplica ? null : 0,
    takesReads: null,
    problem: null,
  };
  const others = replicas.map(
    ({ name: replica, address, state, confirms, lagBytes, lagMs }): NodePart => ({
      name: replica,
      address: address ?? null,
      role: "replica",
      health: state === "streaming" ? `streaming, ${confirms}` : state,
      timeline: null,
      position: null,
      lagBytes: lagBytes ?? null,
      lagMs: lagMs ?? null,
      takesReads: null,
      problem: null,
    }),
  );
  return { kind: "shown", value: [self, ...others] };
};

const clusterNodes = ({ nodes }: ClusterStatus): readonly NodePart[] =>
  nodes.map((node: NodeStatus) => ({
    name: node.name,
    address: node.address,
    role: node.isStale ? "stale primary" : (node.role ?? "unknown"),
    health: node.health,
    timeline: node.timeline ?? null,
    position: node.lsn === undefined ? null : formatLsn(node.lsn),
    lagBytes: node.lagBytes === undefined ? null : Number(node.lagBytes),
    lagMs: node.lagMs ?? null,
    takesReads: node.takesReads,
    problem: node.problem ?? null,
  }));

const readFailovers = async (
  database: Database,
  signal: AbortSignal,
): Promise<Part<readonly FailoverPart[]>> => {
  if (database.kind === "embedded")
    return { kind: "absent", why: `There is nothing to fail over to: ${EMBEDDED}.` };
  if (!isCluster(database))
    return {
      kind: "absent",
      why: "This process knows one address only. Start it with --patroni, or name all hosts, and it follows failovers.",
    };
  const history = await database.history({ signal });
  return {
    kind: "shown",
    value: history.map(({ timeline, forkLsn, at, leader, reason }) => ({
      timeline,
      endedAt: formatLsn(forkLsn),
      at: at ?? null,
      leader: leader ?? null,
      reason,
    })),
  };
};

const poolPart = (database: Database): PoolPart => {
  const { sessionClosedCounts, ...stats } = database.stats();
  return {
    sessionMaxCount: stats.sessionMaxCount,
    busyCount: stats.busyCount,
    idleCount: stats.idleCount,
    waitingCount: stats.waitingCount,
    statementCount: stats.statementCount,
    statementFailedCount: stats.statementFailedCount,
    committedCount: stats.committedCount,
    rolledBackCount: stats.rolledBackCount,
    unknownCount: stats.unknownCount,
    acquireTimeoutCount: stats.acquireTimeoutCount,
    acquireWaitTotalMs: stats.acquireWaitTotalMs,
    sessionOpenedCount: stats.sessionOpenedCount,
    brokenCount: sessionClosedCounts.broken + sessionClosedCounts["read-only"],
  };
};

const readCaches = async (
  redis: Redis | undefined,
  clock: Clock,
  signal: AbortSignal,
): Promise<Part<CachesPart>> => {
  if (redis === undefined)
    return {
      kind: "absent",
      why: "No Redis is named. Start this process with --redis, and the caches that live there are shown.",
    };
  const [server, reports] = await Promise.all([
    describeCacheServer(redis, clock),
    readCacheReports(redis, { signal }),
  ]);
  const { version = "", mode = "standalone", evictionPolicy = "", pingMs = 0, warnings } = server;
  return {
    kind: "shown",
    value: {
      server: { version, mode, evictionPolicy, pingMs, warnings },
      caches: reports.map(({ cache, instance, stats }) => ({
        cache,
        instance,
        hitRate: stats.hitRate,
        readCount: stats.readCount,
        nearHitCount: stats.nearHitCount,
        sharedHitCount: stats.sharedHitCount,
        staleHitCount: stats.staleHitCount,
        missCount: stats.missCount,
        bypassCount: stats.bypassCount,
        failedCount: stats.failedCount,
        fillRefusedCount: stats.fillOvertakenCount + stats.fillBehindCount + stats.fillGenerationCount,
        invalidationCount: stats.invalidationCount,
        auditCount: stats.auditCount,
        inconsistentCount: stats.inconsistentCount,
        nearEntryCount: stats.nearEntryCount,
        breaker: stats.breaker,
      })),
    },
  };
};

const readShards = async (database: Database): Promise<Part<ShardsPart>> => {
  if (database.kind === "embedded")
    return { kind: "absent", why: `Every table is in one place: ${EMBEDDED}.` };
  const placement = await readWholePlacement(database);
  if (placement === undefined)
    return { kind: "absent", why: "Every table is in one place: this database does not have Citus." };
  const { citusVersion, nodes, tables, skew } = placement;
  return {
    kind: "shown",
    value: {
      citusVersion,
      nodes,
      tables: tables.map(({ table, kind, by, shardCount, sizeBytes }) => ({
        table,
        kind,
        by: by ?? null,
        shardCount,
        sizeBytes,
        skew: skew.byShard[table] ?? 1,
      })),
      skew: skew.byNode,
    },
  };
};

const readBackups = async (
  database: Database,
  backups: BackupRepository | undefined,
): Promise<Part<BackupsPart>> => {
  if (database.kind === "embedded")
    return {
      kind: "absent",
      why: "An embedded database is backed up by copying its directory while the process is stopped.",
    };
  if (backups === undefined)
    return {
      kind: "absent",
      why: "No repository is named. Start this process with --backups, and say when a backup was last verified.",
    };
  const [records, recoveries] = await Promise.all([backups.list(), backups.recoveries()]);
  const verified = records
    .filter(({ verifiedAt }) => verifiedAt !== undefined)
    .sort((a, b) => Date.parse(a.verifiedAt ?? "") - Date.parse(b.verifiedAt ?? ""));
  return {
    kind: "shown",
    value: {
      count: records.length,
      newest: backupPart(records.at(-1)),
      lastVerified: backupPart(verified.at(-1)),
      lastRecovery: recoveryPart(recoveries.at(-1)),
    },
  };
};

const backupPart = (record: BackupRecord | undefined): BackupPart | null => {
  if (record === undefined) return null;
  const { id, finishedAt, verifiedAt, sizeBytes, timeline, isArchived } = record;
  return { id, finishedAt, verifiedAt: verifiedAt ?? null, sizeBytes, timeline, isArchived };
};

const recoveryPart = (record: RecoveryRecord | undefined): BackupsPart["lastRecovery"] => {
  if (record === undefined) return null;
  const { kind, startedAt, finishedAt, state, problem, target, dataLossMs, downtimeMs } = record;
  return {
    kind,
    at: finishedAt ?? startedAt,
    outcome: problem === undefined ? state : `${state}: ${problem}`,
    target: target.kind === "time" ? target.time.toISOString() : target.kind,
    dataLossMs: dataLossMs ?? null,
    downtimeMs: downtimeMs ?? null,
  };
};
