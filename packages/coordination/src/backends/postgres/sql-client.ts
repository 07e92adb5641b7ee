import type { Abortable } from "@holdfast/kernel";

/** Runs statements, inside or outside a transaction. Parameters are `$1` … `$n`; int8 comes back as a decimal string. */
export interface SqlExecutor {
  query<Row extends object = Record<string, unknown>>(
    text: string,
    values?: readonly unknown[],
    options?: Abortable,
  ): Promise<readonly Row[]>;
}

/**
 * The smallest shape of a PostgreSQL that this backend needs; `@holdfast/data` fits it for the embedded
 * database, a server and a cluster.
 */
export interface SqlClient extends SqlExecutor {
  /** READ COMMITTED unless said otherwise. Commits when `body` resolves, rolls back when it rejects. */
  transaction<T>(body: (tx: SqlExecutor) => Promise<T>, options?: Abortable): Promise<T>;
  /**
   * Calls `onPayload` for each NOTIFY on `channel` until disposed. Survives reconnects, but may miss what was sent
   * meanwhile: a client that notices calls `onInterrupted` when the connection is lost, and again once it listens anew.
   */
  listen(
    channel: string,
    onPayload: (payload: string) => void,
    onInterrupted?: () => void,
  ): Promise<AsyncDisposable>;
}
