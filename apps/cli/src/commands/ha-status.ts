import {
  type ClusterDatabase,
  type ClusterStatus,
  formatLsn,
  type NodeStatus,
  openCluster,
} from "@holdfast/data";
import { silentLogger, systemRandom } from "@holdfast/kernel";
import { formatCount, formatDuration } from "../terminal/format.ts";
import type { Session } from "../terminal/session.ts";
import { renderTable } from "../terminal/table.ts";

/** Opens the cluster for one command. */
export const openHa = (
  session: Session,
  where: { readonly url: string; readonly patroni: readonly string[]; readonly needsPrimary: boolean },
): Promise<ClusterDatabase> =>
  openCluster({
    url: where.url,
    discovery: where.patroni.length === 0 ? { kind: "hosts" } : { kind: "patroni", urls: where.patroni },
    needsPrimary: where.needsPrimary,
    max: 2,
    applicationName: "holdfast ha",
    connectTimeoutMs: 5_000,
    clock: session.clock,
    random: systemRandom,
    logger: silentLogger,
    signal: session.signal,
  });

const paintOf = (kind: ClusterStatus["condition"]["kind"]): "green" | "yellow" | "red" =>
  kind === "healthy"
    ? "green"
    : kind === "no-primary" || kind === "split-brain" || kind === "down"
      ? "red"
      : "yellow";

export const printStatus = (session: Session, status: ClusterStatus): void => {
  const { condition } = status;
  const named = "nodes" in condition && condition.nodes.length > 0 ? ` (${condition.nodes.join(", ")})` : "";
  session.print(
    `${session.style(paintOf(condition.kind), condition.kind)}${named}, timeline ${status.timeline ?? "-"}, system ${status.systemId ?? "-"}${status.isPaused ? ", automatic failover is paused" : ""}`,
  );
  session.print(
    renderTable<NodeStatus>(
      status.nodes,
      [
        { title: "node", value: ({ name }) => name },
        { title: "address", value: ({ address }) => address },
        { title: "role", value: ({ role, isStale }) => (isStale ? "stale primary" : (role ?? "-")) },
        {
          title: "health",
          value: ({ health }) => session.style(health === "healthy" ? "green" : "red", health),
        },
        { title: "timeline", value: ({ timeline }) => String(timeline ?? "-"), align: "right" },
        { title: "position", value: ({ lsn }) => (lsn === undefined ? "-" : formatLsn(lsn)), align: "right" },
        {
          title: "lag",
          value: ({ lagBytes, lagMs }) =>
            lagBytes === undefined
              ? "-"
              : `${formatCount(Number(lagBytes))} B${lagMs === undefined ? "" : `, ${formatDuration(lagMs)}`}`,
          align: "right",
        },
        { title: "reads", value: ({ takesReads }) => (takesReads ? "yes" : "-") },
        { title: "problem", value: ({ problem }) => problem ?? "", maxWidth: 80 },
      ],
      session.style,
    ),
  );
};
