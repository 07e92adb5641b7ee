import type { Socket } from "node:net";
import pg from "pg";
import type { WireValue } from "../sql/parameter.ts";
import { readerOf, type ValueReader } from "../sql/result-value.ts";
import type { DriverResult, OnStatementEnd } from "./driver-client.ts";
import { encodeExecution } from "./execute-message.ts";

/** The columns of a prepared statement, which stay what they are as long as it can be run. */
export interface StatementShape {
  readonly names: readonly string[];
  readonly readers: readonly ValueReader[];
  /** A row without its values, so that all rows are built alike. */
  readonly emptyRow: Readonly<Record<string, null>>;
}

export const shapeOf = (
  fields: readonly { readonly name: string; readonly dataTypeID: number }[],
): StatementShape => ({
  names: fields.map(({ name }) => name),
  readers: fields.map(({ dataTypeID }) => readerOf(dataTypeID)),
  emptyRow: { ...Object.fromEntries(fields.map(({ name }) => [name, null])) },
});

/** Its type declarations name methods that it calls as properties, which no class could override. */
const DriverQuery = pg.Query as unknown as new (text: string) => object;

/**
 * A run of a statement that is prepared and whose columns are known. The driver would ask for the columns each time
 * and write four messages; this asks for nothing and writes one. The server refuses it when the columns have changed
 * since, and it is prepared anew then.
 *
 * Extends the driver's own query, because the driver takes no other kind while it pipelines.
 */
export class KnownStatement extends DriverQuery {
  readonly callback: () => void;
  readonly #message: Buffer;
  readonly #shape: StatementShape;
  readonly #onEnd: OnStatementEnd;
  readonly #rows: Record<string, unknown>[] = [];
  #command = "";
  #rowCount = 0;
  /** What went wrong while a row was read. The answer still has to be read to its end. */
  #problem: Error | undefined;

  constructor(
    text: string,
    options: {
      readonly name: string;
      readonly values: readonly WireValue[];
      readonly shape: StatementShape;
      readonly onEnd: OnStatementEnd;
    },
  ) {
    super(text);
    this.#message = encodeExecution(options.name, options.values);
    this.#shape = options.shape;
    this.#onEnd = options.onEnd;
    // The driver gives a query without one a promise of its own.
    this.callback = () => undefined;
  }

  submit(connection: { readonly stream: Socket }): null {
    connection.stream.write(this.#message);
    return null;
  }

  handleDataRow({ fields }: { readonly fields: readonly (string | null)[] }): void {
    const { names, readers, emptyRow } = this.#shape;
    const row: Record<string, unknown> = { ...emptyRow };
    try {
      for (let index = 0; index < fields.length; index += 1) {
        const value = fields[index];
        if (value !== null && value !== undefined) row[names[index] ?? ""] = readers[index]?.(value);
      }
      this.#rows.push(row);
    } catch (error) {
      this.#problem ??= error as Error;
    }
  }

  /** `SELECT 3`, `INSERT 0 1`, `BEGIN`. */
  handleCommandComplete({ text }: { readonly text: string }): void {
    const words = text.split(" ");
    this.#command = words[0] ?? "";
    this.#rowCount = words.length > 1 ? Number(words.at(-1)) : 0;
  }

  handleEmptyQuery(): void {}

  handleError(error: Error): void {
    this.#onEnd(error, { rows: [], rowCount: 0, command: "", fields: [] });
  }

  handleReadyForQuery(): void {
    if (this.#problem !== undefined) {
      this.handleError(this.#problem);
      return;
    }
    const result: DriverResult = {
      rows: this.#rows,
      rowCount: this.#rowCount,
      command: this.#command,
      fields: [],
    };
    this.#onEnd(undefined, result);
  }
}
