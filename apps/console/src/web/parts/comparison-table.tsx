import { type ComparedFigure, formatChange, formatFigure } from "@holdfast/jobs/compare/figures";
import type { CSSProperties, ReactNode } from "react";
import { formatDuration } from "../format.ts";
import { Table } from "./table.tsx";

/** One row per figure: both values, the change in words, in per cent and as a bar, and what chance has to do with it. */
export const ComparisonTable = ({ figures }: { readonly figures: readonly ComparedFigure[] }): ReactNode => (
  <div className="comparison">
    <Table columns={["Figure", { number: "A" }, { number: "B" }, { number: "Change" }, "More than chance?"]}>
      {figures.map((figure) => {
        const { name, difference, unit } = figure;
        const format = unit === "ms" ? formatDuration : formatFigure;
        const verdict = VERDICTS[verdictOf(figure)];
        return (
          <tr key={name} className={verdict.className}>
            <td>{name}</td>
            <td className="number">{format(difference.a)}</td>
            <td className="number">{format(difference.b)}</td>
            <td className="number change">
              {formatChange(difference)}
              <ChangeBar change={difference.change} />
            </td>
            <td>{verdict.text}</td>
          </tr>
        );
      })}
    </Table>
  </div>
);

const VERDICTS = {
  untested: { text: "–", className: "" },
  unknown: { text: "too few values", className: "" },
  chance: { text: "no", className: "" },
  differs: { text: "yes", className: "differs" },
} as const;

const verdictOf = ({ isTested, difference }: ComparedFigure): keyof typeof VERDICTS => {
  if (!isTested) return "untested";
  if (difference.isSignificant === undefined) return "unknown";
  return difference.isSignificant ? "differs" : "chance";
};

/** Left of the middle: less than A; right of it: more. Full at half as much, or twice as much. */
const ChangeBar = ({ change }: { readonly change: number | undefined }): ReactNode => {
  const doublings = change === undefined ? 1 : Math.log2(Math.max(1 + change, 2 ** -1));
  const width = Math.min(1, Math.abs(doublings)) * 50;
  const style: CSSProperties =
    doublings < 0 ? { right: "50%", width: `${width}%` } : { left: "50%", width: `${width}%` };
  return (
    <span className="change-bar" aria-hidden="true">
      <span style={style} />
    </span>
  );
};
