import type { ReactNode } from "react";
import type { DataTierView } from "../../data-view.ts";
import { formatBytes, formatCount } from "../format.ts";
import { BackupsCard } from "../parts/data/backups-card.tsx";
import { CachesCard } from "../parts/data/caches-card.tsx";
import { FailoversCard } from "../parts/data/failovers-card.tsx";
import { NodesCard } from "../parts/data/nodes-card.tsx";
import { PoolCard } from "../parts/data/pool-card.tsx";
import { ShardsCard } from "../parts/data/shards-card.tsx";
import { Figure } from "../parts/figure.tsx";
import { EmptyState, LoadingState, UnseenState } from "../parts/states.tsx";
import { StatusBadge } from "../parts/status-badge.tsx";
import { useSnapshot } from "../use-snapshot.ts";

const KINDS = {
  embedded: "embedded in this process",
  postgres: "one server",
  cluster: "a replicated cluster",
} as const;

const SURVIVES = {
  none: "A commit survives nothing: the data goes with the process.",
  "process-crash": "A commit survives the end of this process, not a power loss.",
  "power-loss": "A commit survives a power loss.",
  server: "What a commit survives is the server's own setting.",
} as const;

/** The data tier as this gate sees it: nodes, failovers, pool, caches, shards, backups. */
export const DataPage = (): ReactNode => {
  const { data, error } = useSnapshot<DataTierView | null>("data");
  if (data === undefined)
    return error === undefined ? (
      <LoadingState lines={8} />
    ) : (
      <UnseenState title="The data tier cannot be looked at" message={error} />
    );
  if (data === null)
    return (
      <EmptyState title="No database to look at">
        <p>This console was started without one. A gate that Holdfast starts shows its own here.</p>
      </EmptyState>
    );
  const { database, server } = data;
  return (
    <>
      <div className="title-row">
        <div>
          <h1>
            Data <StatusBadge status={database.condition} />
          </h1>
          <p className="muted">
            PostgreSQL {database.serverVersion}, {KINDS[database.kind]}. {SURVIVES[database.durability]}
          </p>
        </div>
      </div>
      <ConditionNote data={data} />
      <dl className="figures">
        <Figure label="Takes" value={takes(data)} />
        <Figure label="Primary" value={primaryOf(data) ?? "none"} />
        <Figure label="Timeline" value={database.timeline === null ? "–" : formatCount(database.timeline)} />
        <Figure
          label="Database size"
          value={server.kind === "shown" ? formatBytes(server.value.sizeBytes) : "–"}
        />
        <Figure
          label="Sessions in use"
          value={`${formatCount(data.pool.busyCount)} / ${formatCount(data.pool.sessionMaxCount)}`}
        />
      </dl>
      <NodesCard data={data} />
      <FailoversCard data={data} />
      <PoolCard pool={data.pool} server={server} />
      <CachesCard caches={data.caches} />
      <ShardsCard shards={data.shards} />
      <BackupsCard backups={data.backups} />
    </>
  );
};

const takes = ({ database: { takesWrites, takesReads } }: DataTierView): string =>
  takesWrites ? "reads, writes" : takesReads ? "reads only" : "nothing";

/** Of a cluster, who is written to; of one server, the one that takes writes. */
const primaryOf = ({ database, nodes }: DataTierView): string | undefined => {
  if (database.kind === "cluster") return database.primary ?? undefined;
  return nodes.kind === "shown" ? nodes.value.find(({ role }) => role === "primary")?.name : undefined;
};

const NOTES: Readonly<Record<string, string>> = {
  degraded: "A node is down or does not follow. Everything works; the next failure may not be as harmless.",
  "replica-lag": "Every replica is further behind than allowed, so the primary serves the reads.",
  "no-replica": "There is no replica: the next failure stops everything.",
  "write-blocked": "Commits wait for a synchronous replica, and none confirms.",
  "no-primary":
    "No node takes writes. They fail at once and may be tried again; a new primary is followed by itself.",
  "split-brain":
    "Two nodes take themselves for the primary. Nobody is written to until a person has decided.",
  "switching-over": "A planned switchover is under way: writes wait for its end.",
  "read-only": "This server is a replica: it takes no writes.",
  down: "Nothing answers.",
};

const ConditionNote = ({ data: { database } }: { readonly data: DataTierView }): ReactNode => {
  const { scheduledSwitchover: scheduled } = database;
  const notes = [
    NOTES[database.condition],
    database.isPaused ? "Patroni is paused: it does not fail over by itself." : undefined,
    scheduled === null
      ? undefined
      : `A switchover to ${scheduled.to ?? "any replica"} is set for ${scheduled.at}.`,
  ].filter((note) => note !== undefined);
  if (notes.length === 0) return null;
  return (
    <output className="banner warning">
      <span>{notes.join(" ")}</span>
    </output>
  );
};
