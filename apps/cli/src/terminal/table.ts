import { stripVTControlCharacters } from "node:util";
import type { Style } from "./style.ts";

export interface Column<Row> {
  readonly title: string;
  readonly value: (row: Row) => string;
  readonly align?: "left" | "right";
  /** The longest a cell may be; longer text is cut with an ellipsis. Default 48. */
  readonly maxWidth?: number;
}

const width = (text: string): number => [...stripVTControlCharacters(text)].length;

const pad = (text: string, size: number, align: "left" | "right"): string => {
  const gap = " ".repeat(Math.max(0, size - width(text)));
  return align === "right" ? gap + text : text + gap;
};

/** The text, or its beginning without style where it is longer. */
export const cut = (text: string, maxWidth: number): string =>
  width(text) <= maxWidth ? text : `${[...stripVTControlCharacters(text)].slice(0, maxWidth - 1).join("")}…`;

/** A table whose columns are as wide as their widest cell. Empty tables are the caller's to explain. */
export const renderTable = <Row>(
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  style: Style,
): string => {
  const cells = rows.map((row) => columns.map((column) => cut(column.value(row), column.maxWidth ?? 48)));
  const sizes = columns.map((column, index) =>
    Math.max(width(column.title), ...cells.map((line) => width(line[index] ?? ""))),
  );
  const render = (line: readonly string[]): string =>
    line
      .map((cell, index) => pad(cell, sizes[index] ?? 0, columns[index]?.align ?? "left"))
      .join("  ")
      .trimEnd();
  return [style("dim", render(columns.map((column) => column.title))), ...cells.map(render)].join("\n");
};
