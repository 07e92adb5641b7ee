import { describe, expect, it } from "vitest";
import { traitsOf } from "./statement-traits.ts";

describe("what the text of a statement tells", () => {
  it("takes plain reads for repeatable and shareable", () => {
    for (const text of [
      "SELECT 1",
      "\n  select * from information_for_updates where id = $1",
      "VALUES (1)",
      "TABLE people",
    ]) {
      expect(traitsOf(text, true)).toEqual({ isRepeatable: true, isShareable: true });
    }
  });

  it("shares nothing that waits for a lock, makes a table, or changes the session", () => {
    for (const text of [
      "SELECT * FROM t FOR UPDATE",
      "SELECT * FROM t\nFOR  NO KEY UPDATE SKIP LOCKED",
      "SELECT * FROM t for key share",
      "SELECT * INTO copy FROM t",
      "SELECT pg_advisory_lock(1)",
      "SELECT pg_try_advisory_xact_lock($1)",
      "SELECT pg_sleep_for('1 s')",
      "SELECT set_config('a.b', 'c', false)",
    ]) {
      expect(traitsOf(text, true)).toEqual({ isRepeatable: true, isShareable: false });
    }
  });

  it("takes everything else for a write", () => {
    for (const text of [
      "INSERT INTO t VALUES (1)",
      "WITH x AS (DELETE FROM t) SELECT 1",
      "EXPLAIN ANALYZE DELETE FROM t",
      "",
    ]) {
      expect(traitsOf(text, true)).toEqual({ isRepeatable: false, isShareable: false });
    }
    expect(traitsOf("SELECT 1; DELETE FROM t", false)).toEqual({ isRepeatable: false, isShareable: false });
    expect(traitsOf("SELECT 1", false)).toEqual({ isRepeatable: true, isShareable: false });
  });
});
