import { POSITION, type PositionRow } from "../cluster/node-probe.ts";
import type { PostgresConnection } from "../postgres/connection.ts";
import type { Lease } from "../postgres/postgres-database.ts";
import type { StatementOptions } from "../sql/database.ts";

/**
 * Connections on which replicas were seen to confirm commits, and commits to wait for them ever since. As long as such
 * a connection lives its server has not started anew, after which commits can be seen that nobody has confirmed.
 */
const confirmedOn = new WeakSet<PostgresConnection>();

/**
 * Where a session stands after what the lease ran last; undefined when it could not be asked.
 * @param limits Those of the statement that it belongs to: its caller is not to wait longer for this.
 */
export const askPosition = async (
  { connection, session }: Lease,
  { signal, timeoutMs }: Pick<StatementOptions, "signal" | "timeoutMs">,
): Promise<PositionRow | undefined> => {
  let row: PositionRow | undefined;
  try {
    const limits = { signal, timeoutMs, repeatable: true };
    [row] = (await session.run<PositionRow>(POSITION, [], limits)).rows;
  } catch {
    // What else failed says why.
  }
  if (row === undefined) return undefined;
  if (row.confirmed !== null) confirmedOn.add(connection);
  else if (row.confirmed_before === null) confirmedOn.delete(connection);
  // A primary that its replicas have left shows nothing new, though its log grows by commits that wait.
  else if (confirmedOn.has(connection)) return { ...row, confirmed: row.confirmed_before };
  return row;
};
