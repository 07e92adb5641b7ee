import type { ReactNode } from "react";

/** The title of a column; `number`: its cells are figures, which stand to the right. */
export type Column = string | { readonly number: string };

/** A table that scrolls by itself where the window is too narrow. The children are its rows. */
export const Table = (props: {
  readonly columns: readonly Column[];
  readonly children: ReactNode;
}): ReactNode => (
  <div className="scroll">
    <table>
      <thead>
        <tr>
          {props.columns.map((column) => {
            const isNumber = typeof column !== "string";
            const title = isNumber ? column.number : column;
            return (
              <th key={title} scope="col" className={isNumber ? "number" : undefined}>
                {title}
              </th>
            );
          })}
        </tr>
      </thead>
      <tbody>{props.children}</tbody>
    </table>
  </div>
);
