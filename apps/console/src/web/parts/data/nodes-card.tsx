import type { ReactNode } from "react";
import type { DataTierView, NodePart } from "../../../data-view.ts";
import { formatBytes, formatDuration } from "../../format.ts";
import { StatusBadge } from "../status-badge.tsx";
import { Table } from "../table.tsx";
import { DataCard } from "./data-card.tsx";

/** Who is there, what each takes, and how far behind it is. */
export const NodesCard = ({ data }: { readonly data: DataTierView }): ReactNode => (
  <DataCard title="Nodes" part={data.nodes} aside={systemOf(data)}>
    {(nodes) => (
      <Table
        columns={[
          "Node",
          "Role",
          "State",
          { number: "Timeline" },
          { number: "Position" },
          { number: "Behind by" },
          "Takes reads",
          "Address",
        ]}
      >
        {nodes.map((node) => (
          <NodeRow key={`${node.name} ${node.address}`} node={node} />
        ))}
      </Table>
    )}
  </DataCard>
);

const systemOf = ({ database: { systemId } }: DataTierView): string | undefined =>
  systemId === null ? undefined : `system ${systemId}`;

const NodeRow = ({ node }: { readonly node: NodePart }): ReactNode => (
  <tr>
    <td>{node.name}</td>
    <td>{node.role === "primary" ? <strong>primary</strong> : node.role}</td>
    <td className={node.problem === null ? undefined : "muted"}>
      <StatusBadge status={node.health} /> {node.problem}
    </td>
    <td className="number mono">{node.timeline ?? "–"}</td>
    <td className="number mono">{node.position ?? "–"}</td>
    <td className="number">{lagOf(node)}</td>
    <td>{node.takesReads === null ? "–" : node.takesReads ? "yes" : "no"}</td>
    <td className="mono">{node.address ?? "–"}</td>
  </tr>
);

const lagOf = ({ role, lagBytes, lagMs }: NodePart): string => {
  if (role === "primary") return "–";
  if (lagBytes === null) return "unknown";
  if (lagBytes === 0) return "nothing";
  return lagMs === null ? formatBytes(lagBytes) : `${formatBytes(lagBytes)}, ${formatDuration(lagMs)}`;
};
