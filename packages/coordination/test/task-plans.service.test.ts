import { createPostgresStore, type SqlClient } from "@holdfast/coordination/postgres";
import { startPostgres } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { expect, it } from "vitest";
import { readStatements, type StatementName } from "../src/backends/postgres/sql-files.ts";
import { openPg } from "./pg-client.ts";

const SCHEMA = "plans";
const NAMES: readonly StatementName[] = [
  "complete-forgotten-tasks",
  "complete-kept-tasks",
  "fail-tasks",
  "renew-claims",
  "report-progress",
];

interface PlanNode {
  readonly "Node Type": string;
  readonly "Relation Name"?: string;
  readonly "Index Name"?: string;
  readonly "Index Cond"?: string;
  readonly Plans?: readonly PlanNode[];
}

/** How the tasks are found in the plan that a session keeps for a statement: index and condition, or the kind of scan. */
const lookUps = async (sql: SqlClient, text: string): Promise<readonly string[]> => {
  const count = Math.max(...[...text.matchAll(/\$(\d+)/g)].map(([, number]) => Number(number)));
  const plans = await sql.transaction(async (tx) => {
    await tx.query("SET LOCAL plan_cache_mode = force_generic_plan");
    await tx.query(`PREPARE statement AS ${text}`);
    const nothing = Array.from({ length: count }, () => "NULL").join(", ");
    const rows = await tx.query<{ "QUERY PLAN": readonly { readonly Plan: PlanNode }[] }>(
      `EXPLAIN (FORMAT JSON) EXECUTE statement(${nothing})`,
    );
    await tx.query("DEALLOCATE statement");
    return rows.flatMap((row) => row["QUERY PLAN"]);
  });
  const found: string[] = [];
  const walk = (node: PlanNode): void => {
    const index = node["Index Name"];
    if (index?.startsWith("tasks_")) found.push(`${index} ${node["Index Cond"]}`);
    else if (node["Node Type"] === "Seq Scan" && node["Relation Name"] === "tasks") found.push("Seq Scan");
    for (const child of node.Plans ?? []) walk(child);
  };
  for (const { Plan } of plans) walk(Plan);
  return found;
};

describeService("postgres", "what becomes of claims, in PostgreSQL", () => {
  it("is stored by looking each task up by its key, also by sessions that planned when the table seemed empty", async () => {
    await using server = await startPostgres();
    await using sql = openPg(server.url, 4);
    await using store = await createPostgresStore({ sql, schema: SCHEMA });
    const statements = await readStatements(SCHEMA);
    const expectKeys = async (when: string): Promise<void> => {
      for (const name of NAMES) {
        const found = await lookUps(sql, statements[name]);
        expect(found.length, `${name} ${when}`).toBeGreaterThan(0);
        for (const lookUp of found) expect(lookUp, `${name} ${when}`).toMatch(/^tasks_pkey .*\bid = /);
      }
    };
    await expectKeys("while the table was never analysed");
    const queue = store.queue("q");
    const tasks = Array.from({ length: 1000 }, () => ({
      type: "t",
      payload: "x".repeat(1000),
      keepCompleted: false,
    }));
    await queue.enqueue(tasks);
    await sql.query(`ANALYZE "${SCHEMA}".tasks`);
    await expectKeys("while it has a thousand");
    await queue.complete(await queue.claim({ worker: "w", maxCount: 1000, leaseMs: 60_000 }));
    await sql.query(`VACUUM (TRUNCATE off, ANALYZE) "${SCHEMA}".tasks`);
    await expectKeys("after all were done");
  });
});
