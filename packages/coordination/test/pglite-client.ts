import { PGlite } from "@electric-sql/pglite";
import type { SqlClient, SqlExecutor } from "@holdfast/coordination";

interface Session {
  query(text: string, values?: unknown[]): Promise<{ rows: unknown[] }>;
}

const executor = (session: Session): SqlExecutor => ({
  async query<Row extends object>(text: string, values: readonly unknown[] = []) {
    const { rows } = await session.query(text, [...values]);
    return rows as Row[];
  },
});

/** The smallest client over an embedded PostgreSQL in memory: one session, so transactions queue. */
export const openPglite = async (): Promise<SqlClient & AsyncDisposable> => {
  const db = await PGlite.create({ parsers: { 20: (text: string) => text } });
  return {
    ...executor(db as Session),
    transaction: (body, options) => {
      options?.signal?.throwIfAborted();
      return db.transaction((tx) => body(executor(tx as Session)));
    },
    async listen(channel, onPayload) {
      const stop = await db.listen(`"${channel}"`, onPayload);
      return { [Symbol.asyncDispose]: () => stop() };
    },
    [Symbol.asyncDispose]: () => db.close(),
  };
};
