import { describe, expect, it } from "vitest";
import { refuseWrite } from "./refuse-write.ts";

describe("a read that the primary may have to answer", () => {
  it.each([
    "SELECT 1",
    " with x AS (SELECT 1) SELECT * FROM x",
    "VALUES (1)",
    "TABLE t",
    "SHOW server_version",
    "EXPLAIN (ANALYZE) SELECT 1",
    "SELECT * FROM films WHERE title = 'Into the Wild' -- into",
    `WITH x AS (SELECT "update" FROM t WHERE what = 'delete') SELECT * FROM x FOR UPDATE`,
    "SELECT update, delete FROM t",
  ])("may be %s", (text) => {
    expect(() => refuseWrite(text)).not.toThrow();
  });

  it.each([
    "DELETE FROM t",
    "WITH gone AS (DELETE FROM t RETURNING id) SELECT id FROM gone",
    "WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x",
    "with x as (update t set n = 1 returning n) select n from x",
    "WITH x AS (SELECT 1 AS n) MERGE INTO t USING x ON t.n = x.n WHEN MATCHED THEN DO NOTHING",
    "EXPLAIN ANALYZE DELETE FROM t",
    "SELECT * INTO copy FROM t",
    "SELECT 1 /* /* */ ' */ INTO copy --'",
  ])("is not %s", (text) => {
    expect(() => refuseWrite(text)).toThrow(/a statement that reads/);
  });
});
