import type { ReactNode } from "react";
import type { DataTierView, FailoverPart } from "../../../data-view.ts";
import { formatCount } from "../../format.ts";
import { Table } from "../table.tsx";
import { DataCard } from "./data-card.tsx";

/** The promotions on record, the newest first. */
export const FailoversCard = ({ data }: { readonly data: DataTierView }): ReactNode => (
  <DataCard title="Failovers" part={data.failovers}>
    {(history) =>
      history.length === 0 ? (
        <p className="muted note">No promotion is on record: this is the first timeline.</p>
      ) : (
        <>
          <Table
            columns={[
              "When",
              "New primary",
              { number: "Timeline" },
              { number: "Left the old one at" },
              "Reason",
            ]}
          >
            {[...history]
              .reverse()
              .slice(0, SHOWN_MAX)
              .map((each) => (
                <FailoverRow key={each.timeline} failover={each} />
              ))}
          </Table>
          {history.length > SHOWN_MAX ? (
            <p className="muted">{formatCount(history.length - SHOWN_MAX)} older ones are on record.</p>
          ) : null}
        </>
      )
    }
  </DataCard>
);

const SHOWN_MAX = 20;

const FailoverRow = ({ failover }: { readonly failover: FailoverPart }): ReactNode => (
  <tr>
    <td>{failover.at === null ? "not recorded" : new Date(failover.at).toLocaleString("en-GB")}</td>
    <td>{failover.leader ?? "not recorded"}</td>
    <td className="number mono">
      {failover.timeline} → {failover.timeline + 1}
    </td>
    <td className="number mono">{failover.endedAt}</td>
    <td className="muted">{failover.reason}</td>
  </tr>
);
