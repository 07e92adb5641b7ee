import type { ReactNode } from "react";
import type { Part, ShardsPart } from "../../../data-view.ts";
import { formatBytes, formatCount } from "../../format.ts";
import { StatusBadge } from "../status-badge.tsx";
import { Table } from "../table.tsx";
import { DataCard } from "./data-card.tsx";

/** Which node holds how much, and how each table is spread. */
export const ShardsCard = ({ shards }: { readonly shards: Part<ShardsPart> }): ReactNode => (
  <DataCard
    title="Shards"
    part={shards}
    aside={
      shards.kind === "shown"
        ? `Citus ${shards.value.citusVersion}, fullest node ${formatCount(shards.value.skew)} × the mean`
        : undefined
    }
  >
    {({ nodes, tables }) => (
      <>
        <Nodes nodes={nodes} />
        {tables.length === 0 ? (
          <p className="muted note">No table is distributed yet.</p>
        ) : (
          <Tables tables={tables} />
        )}
      </>
    )}
  </DataCard>
);

const Nodes = ({ nodes }: Pick<ShardsPart, "nodes">): ReactNode => {
  const largest = Math.max(1, ...nodes.map(({ sizeBytes }) => sizeBytes));
  return (
    <Table columns={["Node", "State", { number: "Shards" }, "Size"]}>
      {nodes.map(({ host, port, isActive, shardCount, sizeBytes }) => (
        <tr key={`${host}:${port}`}>
          <td className="mono">
            {host}:{port}
          </td>
          <td>
            <StatusBadge status={isActive ? "active" : "offline"} />
          </td>
          <td className="number">{formatCount(shardCount)}</td>
          <td>
            <span className="rate">
              <span className="meter" aria-hidden="true">
                <span className="busy" style={{ width: `${(100 * sizeBytes) / largest}%` }} />
              </span>
              {formatBytes(sizeBytes)}
            </span>
          </td>
        </tr>
      ))}
    </Table>
  );
};

const Tables = ({ tables }: Pick<ShardsPart, "tables">): ReactNode => (
  <Table
    columns={[
      "Table",
      "Kind",
      "Spread by",
      { number: "Shards" },
      { number: "Size" },
      { number: "Largest shard" },
    ]}
  >
    {tables.map(({ table, kind, by, shardCount, sizeBytes, skew }) => (
      <tr key={table}>
        <td>{table}</td>
        <td>{kind}</td>
        <td className="mono">{by ?? "–"}</td>
        <td className="number">{formatCount(shardCount)}</td>
        <td className="number">{formatBytes(sizeBytes)}</td>
        <td className="number">{kind === "distributed" ? `${formatCount(skew)} × the mean` : "–"}</td>
      </tr>
    ))}
  </Table>
);
