import type { SqlClient, SqlExecutor } from "@holdfast/coordination";
import { Client, Pool, type PoolClient } from "pg";

const executor = (session: Pool | PoolClient): SqlExecutor => ({
  async query<Row extends object>(text: string, values: readonly unknown[] = []) {
    const { rows } = await session.query(text, [...values]);
    return rows as Row[];
  },
});

/** The smallest client over a PostgreSQL server. */
export const openPg = (url: string, connectionMaxCount = 10): SqlClient & AsyncDisposable => {
  const pool = new Pool({ connectionString: url, max: connectionMaxCount });
  // A server that goes away is what some tests are about; the pool drops the connection by itself.
  pool.on("error", () => undefined);
  pool.on("connect", (client) => client.on("error", () => undefined));
  return {
    ...executor(pool),
    async transaction(body, options) {
      options?.signal?.throwIfAborted();
      const session = await pool.connect();
      let failure: Error | undefined;
      try {
        await session.query("BEGIN");
        const value = await body(executor(session));
        await session.query("COMMIT");
        return value;
      } catch (error) {
        await session.query("ROLLBACK").catch((reason: Error) => {
          failure = reason;
        });
        throw error;
      } finally {
        session.release(failure);
      }
    },
    async listen(channel, onPayload) {
      const client = new Client({ connectionString: url });
      client.on("error", () => undefined);
      await client.connect();
      client.on("notification", ({ payload }) => onPayload(payload ?? ""));
      await client.query(`LISTEN "${channel}"`);
      return { [Symbol.asyncDispose]: () => client.end() };
    },
    [Symbol.asyncDispose]: () => pool.end(),
  };
};
