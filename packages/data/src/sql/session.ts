import type { Abortable } from "@holdfast/kernel";
import type { StatementResult } from "./database.ts";
import type { WireValue } from "./parameter.ts";

export interface SessionResult<Row> extends StatementResult<Row> {
  /** The first word of the command tag: SELECT, INSERT, COMMIT, ROLLBACK … */
  readonly command: string;
  /** Only where a format was asked for. */
  readonly fields?: readonly { readonly name: string; readonly dataTypeID: number }[] | undefined;
}

/** A form of the rows other than ours. */
export interface ResultFormat {
  /** Rows are arrays of columns. */
  readonly isArray: boolean;
  /** The reader of a column by its type's object id. Default: ours. */
  readonly readerOf: ((oid: number) => (text: string) => unknown) | undefined;
}

export interface SessionRunOptions extends Abortable {
  readonly timeoutMs?: number | undefined;
  readonly repeatable?: boolean | undefined;
  /** Default: rows are objects, read by our own readers. The embedded database knows no other. */
  readonly format?: ResultFormat | undefined;
  /** For a `COPY … FROM STDIN` without values: everything that it reads. */
  readonly copyData?: Uint8Array | undefined;
}

/** One session of a PostgreSQL, used by one owner at a time. Results are read and errors typed already. */
export interface SqlSession {
  /** Without `values`, `text` may hold several statements; the result is that of the last one. */
  run<Row>(
    text: string,
    values: readonly WireValue[] | undefined,
    options: SessionRunOptions,
  ): Promise<SessionResult<Row>>;
}
