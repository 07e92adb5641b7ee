import type { StatementRunner } from "../sql/database.ts";

/** A transaction that was prepared and waits for its second phase. It holds its locks until then. */
export interface InDoubtTransaction {
  readonly id: string;
  readonly node: string;
  readonly preparedAt: string;
  /** What the coordinator decided: a record of the commit is written before the second phase begins. */
  readonly decision: "commit" | "roll back" | "unknown";
}

interface Row {
  readonly id: string;
  readonly at: string;
}

/**
 * Asks every node that answers. A node that is down cannot be asked; what the coordinator decided about it is
 * listed all the same, and what it holds appears when it is back.
 */
export const listInDoubt = async (
  database: StatementRunner,
  options: { readonly isSharded: boolean },
): Promise<readonly InDoubtTransaction[]> => {
  const own =
    "SELECT gid AS id, prepared::text AS at FROM pg_prepared_xacts WHERE database = current_database()";
  if (!options.isSharded) {
    const rows = await database.query<Row>(own);
    return rows.map(({ id, at }) => ({ id, node: "this server", preparedAt: at, decision: "unknown" }));
  }
  const decided = await database.query<{ id: string; node: string }>(
    `SELECT t.gid AS id, n.nodename || ':' || n.nodeport AS node
       FROM pg_dist_transaction t JOIN pg_dist_node n USING (groupid) WHERE n.noderole = 'primary'`,
  );
  const answers = await database.query<{ node: string; success: boolean; result: string }>(
    `SELECT n.nodename || ':' || n.nodeport AS node, r.success, r.result
       FROM run_command_on_all_nodes($1) AS r JOIN pg_dist_node n ON n.nodeid = r.nodeid`,
    [`SELECT coalesce(jsonb_agg(x), '[]') FROM (${own}) AS x`],
  );
  const found = answers.flatMap(({ node, success, result }) =>
    success ? (JSON.parse(result) as readonly Row[]).map((row) => ({ ...row, node })) : [],
  );
  const isDecided = (id: string): boolean => decided.some((each) => each.id === id);
  // Records of what has ended long ago stay until the next recovery; they matter only where nobody answers.
  const silent = answers.filter(({ success }) => !success).map(({ node }) => node);
  const unreachable = decided.filter(({ node }) => silent.includes(node));
  return [
    ...found.map(({ id, node, at }) => ({
      id,
      node,
      preparedAt: at,
      // Without a record the coordinator rolls back, once the transaction that prepared it has ended there.
      decision: isDecided(id)
        ? ("commit" as const)
        : id.startsWith("citus_")
          ? ("roll back" as const)
          : ("unknown" as const),
    })),
    ...unreachable.map(({ id, node }) => ({ id, node, preparedAt: "", decision: "commit" as const })),
  ];
};

export const recoverInDoubt = async (database: StatementRunner): Promise<number> => {
  const [row] = await database.query<{ count: number }>("SELECT recover_prepared_transactions() AS count");
  return row?.count ?? 0;
};
