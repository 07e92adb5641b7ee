import { inspect } from "node:util";
import type { SqlClient } from "@holdfast/coordination";
import { hasCode } from "@holdfast/kernel";
import { describe, expect, it, vi } from "vitest";
import type { Database } from "../src/index.ts";

/** What every kind of database guarantees. `open` gives a database whose schema may be changed at will. */
export const sqlSuite = (kind: string, database: () => Database): void => {
  const fresh = async (): Promise<{ db: Database; table: string }> => {
    const table = `t_${Math.random().toString(36).slice(2)}`;
    await database().query(`CREATE TABLE ${table} (id int PRIMARY KEY, v text UNIQUE, n int CHECK (n > 0))`);
    return { db: database(), table };
  };
  const codeOf = async (run: Promise<unknown>): Promise<string> => {
    try {
      await run;
    } catch (error) {
      return (error as { code: string }).code;
    }
    throw new Error("expected an error");
  };

  describe(`sql on ${kind}: values`, () => {
    it("fits the client that coordination asks for", () => {
      const client: SqlClient = database();
      expect(client).toBe(database());
    });

    it("reads each type the same way", async () => {
      const [row] = await database().query(
        `SELECT 9223372036854775807::int8 AS int8, 7::int4 AS int4, 1.5::float8 AS float8, 12345678901234567890.5::numeric AS num,
           true AS yes, 'x'::text AS text, NULL::text AS nothing, '{"a":[1,"b"]}'::jsonb AS jsonb, '[1]'::json AS json,
           '2026-11-21 06:27:16.707123+05:30'::timestamptz AS at, '2026-11-21'::date AS day, '2026-11-21 06:27:16.5'::timestamp AS local,
           '\\xdeadbeef'::bytea AS bytes, '{1,2,NULL}'::int4[] AS ints, '{9007199254740993}'::int8[] AS big,
           ARRAY['a,b','c"d\\e',NULL,'NULL','{}',''] AS texts, '{{1,2},{3,4}}'::int4[] AS nested, '{}'::text[] AS empty,
           'infinity'::timestamptz AS forever, '8a3c0b36-9f7e-4d7c-8d0f-1f4b3e9b2c11'::uuid AS uuid, '1 day 02:00:00'::interval AS span`,
        [],
      );
      expect(row).toEqual({
        int8: "9223372036854775807",
        int4: 7,
        float8: 1.5,
        num: "12345678901234567890.5",
        yes: true,
        text: "x",
        nothing: null,
        jsonb: { a: [1, "b"] },
        json: [1],
        at: new Date("2026-11-21T00:57:16.707Z"),
        day: "2026-11-21",
        local: "2026-11-21 06:27:16.5",
        bytes: Buffer.from("deadbeef", "hex"),
        ints: [1, 2, null],
        big: ["9007199254740993"],
        texts: ["a,b", 'c"d\\e', null, "NULL", "{}", ""],
        nested: [
          [1, 2],
          [3, 4],
        ],
        empty: [],
        forever: Number.POSITIVE_INFINITY,
        uuid: "8a3c0b36-9f7e-4d7c-8d0f-1f4b3e9b2c11",
        span: "1 day 02:00:00",
      });
    });

    it("sends each type the same way", async () => {
      const at = new Date("2026-11-21T06:27:16.707Z");
      const ancient = new Date("-000043-03-15T00:00:00.000Z");
      const [row] = await database().query(
        `SELECT $1::int8 AS a, $2::jsonb AS b, $3::timestamptz AS c, $4::bytea AS d, $5::text[] AS e, $6::bool AS f,
           $7::text AS g, $8::float8 AS h, $9::timestamptz AS i, $10::bytea[] AS j, $11::int[] AS k`,
        [
          2n ** 62n,
          { deep: [1, { x: null }] },
          at,
          new Uint8Array([0, 255]),
          ['q"uo\\te', null, "a,b"],
          false,
          undefined,
          0.1,
          ancient,
          [Buffer.from([1, 2])],
          [[1], [2]],
        ],
      );
      expect(row).toEqual({
        a: "4611686018427387904",
        b: { deep: [1, { x: null }] },
        c: at,
        d: Buffer.from([0, 255]),
        e: ['q"uo\\te', null, "a,b"],
        f: false,
        g: null,
        h: 0.1,
        i: ancient,
        j: [Buffer.from([1, 2])],
        k: [[1], [2]],
      });
    });

    it("keeps text exactly, whatever is in it", async () => {
      const text = "häß 🚀 '; DROP TABLE x; -- \\ \n\t \u{10FFFF}";
      const [row] = await database().query("SELECT $1::text AS text", [text]);
      expect(row).toEqual({ text });
    });

    it("refuses a value that SQL cannot hold, naming its place", async () => {
      const db = database();
      expect(await codeOf(db.query("SELECT $1::text", [() => 1]))).toBe("KERNEL_INVALID_INPUT");
      expect(await codeOf(db.query("SELECT $1::jsonb", [{ n: 1n }]))).toBe("KERNEL_INVALID_INPUT");
      await expect(db.query("SELECT $1, $2", [1, new Date(Number.NaN)])).rejects.toThrow(/values\[1\]/);
    });

    it("counts the rows that a statement touched", async () => {
      const { db, table } = await fresh();
      expect((await db.execute(`INSERT INTO ${table} VALUES (1),(2),(3)`, [])).rowCount).toBe(3);
      expect((await db.execute(`UPDATE ${table} SET v = NULL WHERE id < 3`)).rowCount).toBe(2);
      expect(await db.execute(`DELETE FROM ${table} RETURNING id`, [])).toMatchObject({ rowCount: 3 });
      expect((await db.execute(`CREATE TEMP TABLE temporary_${table} (id int)`)).rowCount).toBe(0);
    });

    it("runs several statements at once when no values are given, and returns the last one's rows", async () => {
      const { db, table } = await fresh();
      const rows = await db.query(
        `INSERT INTO ${table} VALUES (1, 'a'); INSERT INTO ${table} VALUES (2, 'b'); SELECT id FROM ${table} ORDER BY id`,
      );
      expect(rows).toEqual([{ id: 1 }, { id: 2 }]);
    });

    it("gives right answers to the same text again and again, also after the table changed", async () => {
      const { db, table } = await fresh();
      await db.query(`INSERT INTO ${table} VALUES (1, 'a', 1)`);
      for (let round = 0; round < 5; round += 1) {
        expect(await db.query(`SELECT * FROM ${table} WHERE id = $1`, [1])).toEqual([
          { id: 1, v: "a", n: 1 },
        ]);
      }
      await db.query(`ALTER TABLE ${table} ADD COLUMN extra int DEFAULT 7`);
      for (let round = 0; round < 3; round += 1) {
        expect(await db.query(`SELECT * FROM ${table} WHERE id = $1`, [1])).toEqual([
          { id: 1, v: "a", n: 1, extra: 7 },
        ]);
      }
    });

    it("gives right answers to more different texts than stay prepared", async () => {
      const db = database();
      for (let round = 0; round < 3; round += 1) {
        for (let n = 0; n < 260; n += 1) {
          expect(await db.query(`SELECT $1::int + ${n} AS sum`, [round])).toEqual([{ sum: round + n }]);
        }
      }
    });
  });

  describe(`sql on ${kind}: errors`, () => {
    it("names the violated constraint, its kind, table and column", async () => {
      const { db, table } = await fresh();
      await db.query(`INSERT INTO ${table} VALUES (1, 'a', 1)`);
      await expect(db.query(`INSERT INTO ${table} VALUES (1, 'b', 1)`)).rejects.toMatchObject({
        code: "SQL_CONSTRAINT_VIOLATED",
        kind: "unique",
        constraint: `${table}_pkey`,
        table,
        sqlState: "23505",
        retryable: false,
      });
      await expect(db.query(`INSERT INTO ${table} VALUES (2, 'b', $1)`, [0])).rejects.toMatchObject({
        kind: "check",
        constraint: `${table}_n_check`,
      });
      await expect(db.query(`INSERT INTO ${table} VALUES (NULL)`)).rejects.toMatchObject({
        kind: "not-null",
        column: "id",
      });
    });

    it("never shows the row that violates a constraint, not even when the whole error is printed", async () => {
      const { db, table } = await fresh();
      await db.query(`INSERT INTO ${table} VALUES (1, 'top secret', 1)`);
      try {
        await db.query(`INSERT INTO ${table} VALUES (2, $1, 1)`, ["top secret"]);
        expect.unreachable();
      } catch (error) {
        expect(inspect(error, { depth: 10, showHidden: true })).not.toContain("secret");
      }
    });

    it("types syntax errors and unknown tables by their SQLSTATE, and works afterwards", async () => {
      const db = database();
      await expect(db.query("SELEC 1")).rejects.toMatchObject({
        code: "SQL_STATEMENT_FAILED",
        sqlState: "42601",
      });
      await expect(db.query("SELEC $1", [1])).rejects.toMatchObject({ sqlState: "42601" });
      await expect(db.query("SELECT * FROM missing_table", [])).rejects.toMatchObject({ sqlState: "42P01" });
      await expect(db.query("SELECT $1::int", ["x"])).rejects.toMatchObject({ sqlState: "22P02" });
      await expect(db.query("SELECT $1::int", [])).rejects.toMatchObject({ sqlState: "08P01" });
      expect(await db.query("SELECT 1 AS one", [])).toEqual([{ one: 1 }]);
    });

    it("refuses to copy from an input that there is not, and lives", async () => {
      const { db, table } = await fresh();
      for (const values of [undefined, []]) {
        await expect(db.query(`COPY ${table} FROM STDIN`, values)).rejects.toMatchObject({
          code: "SQL_STATEMENT_FAILED",
        });
      }
      expect(await db.query("SELECT 'copy' AS word", [])).toEqual([{ word: "copy" }]);
    });

    it("refuses writes in a read-only transaction as retryable elsewhere", async () => {
      const { db, table } = await fresh();
      await expect(
        db.transaction((tx) => tx.query(`INSERT INTO ${table} VALUES (1)`), { readOnly: true }),
      ).rejects.toMatchObject({ code: "SQL_READ_ONLY", retryable: true });
    });
  });

  describe(`sql on ${kind}: transactions`, () => {
    it("commits all or nothing", async () => {
      const { db, table } = await fresh();
      const result = await db.transaction(async (tx) => {
        await tx.query(`INSERT INTO ${table} VALUES (1)`);
        await tx.query(`INSERT INTO ${table} VALUES ($1)`, [2]);
        return "done";
      });
      expect(result).toBe("done");
      const failure = new Error("mine");
      await expect(
        db.transaction(async (tx) => {
          await tx.query(`INSERT INTO ${table} VALUES (3)`);
          throw failure;
        }),
      ).rejects.toBe(failure);
      expect(await db.query(`SELECT id FROM ${table} ORDER BY id`)).toEqual([{ id: 1 }, { id: 2 }]);
    });

    it("does not pretend to commit when the body swallowed a failed statement", async () => {
      const { db, table } = await fresh();
      const code = await codeOf(
        db.transaction(async (tx) => {
          await tx.query(`INSERT INTO ${table} VALUES (1)`);
          await tx.query(`INSERT INTO ${table} VALUES (1)`).catch(() => undefined);
        }),
      );
      expect(code).toBe("SQL_TRANSACTION_ABORTED");
      expect(await db.query(`SELECT id FROM ${table}`)).toEqual([]);
    });

    it("undoes only a failed savepoint and goes on", async () => {
      const { db, table } = await fresh();
      await db.transaction(async (tx) => {
        await tx.query(`INSERT INTO ${table} VALUES (1)`);
        await tx
          .savepoint(async (inner) => {
            await inner.query(`INSERT INTO ${table} VALUES (2)`);
            await inner.savepoint((innermost) => innermost.query(`INSERT INTO ${table} VALUES (5)`));
            await inner.query(`INSERT INTO ${table} VALUES (1)`);
          })
          .catch(() => undefined);
        await tx.savepoint((inner) => inner.query(`INSERT INTO ${table} VALUES (3)`));
      });
      expect(await db.query(`SELECT id FROM ${table} ORDER BY id`)).toEqual([{ id: 1 }, { id: 3 }]);
    });

    it("refuses the database itself inside a body instead of waiting for ever, and recovers", async () => {
      const { db, table } = await fresh();
      expect(await codeOf(db.transaction(() => db.query("SELECT 1")))).toBe("SQL_NESTED_USE");
      expect(await codeOf(db.transaction(() => db.transaction(async () => 1)))).toBe("SQL_NESTED_USE");
      expect(
        await codeOf(db.transaction((tx) => tx.savepoint(() => tx.query("SELECT 1") as Promise<unknown>))),
      ).toBe("SQL_NESTED_USE");
      await db.transaction((tx) => tx.query(`INSERT INTO ${table} VALUES (1)`));
      expect(await db.query(`SELECT id FROM ${table}`)).toEqual([{ id: 1 }]);
    });

    it("allows the database again to work that began in a body and goes on after it", async () => {
      const db = database();
      let release: () => void = () => undefined;
      const gate = new Promise<void>((resolve) => {
        release = resolve;
      });
      const later = await db.transaction(async () => ({
        promise: gate.then(() => db.query("SELECT 1 AS one")),
      }));
      release();
      expect(await later.promise).toEqual([{ one: 1 }]);
    });

    it("refuses a statement after its transaction has ended", async () => {
      const db = database();
      const leaked = await db.transaction(async (tx) => ({ tx }));
      expect(await codeOf(leaked.tx.query("SELECT 1"))).toBe("SQL_TRANSACTION_CLOSED");
    });

    it("runs statements of one transaction in the order of the calls, and waits for all of them", async () => {
      const { db, table } = await fresh();
      await db.transaction(async (tx) => {
        for (let id = 1; id <= 20; id += 1) void tx.query(`INSERT INTO ${table} VALUES ($1)`, [id]);
      });
      expect(await db.query(`SELECT count(*)::int AS n FROM ${table}`)).toEqual([{ n: 20 }]);
    });

    it("keeps concurrent transactions apart and lets plain statements wait", async () => {
      const { db, table } = await fresh();
      await db.query(`INSERT INTO ${table} VALUES (1, NULL, 1)`);
      const increment = (): Promise<unknown> =>
        db.transaction(async (tx) => {
          const [row] = await tx.query<{ n: number }>(`SELECT n FROM ${table} WHERE id = 1 FOR UPDATE`);
          await tx.query(`UPDATE ${table} SET n = $1 WHERE id = 1`, [(row?.n ?? 0) + 1]);
        });
      const echoes = Array.from({ length: 20 }, (_, n) => db.query("SELECT $1::int AS n", [n]));
      await Promise.all(Array.from({ length: 20 }, increment));
      expect(await db.query(`SELECT n FROM ${table}`)).toEqual([{ n: 21 }]);
      expect(await Promise.all(echoes)).toEqual(echoes.map((_, n) => [{ n }]));
    });

    it("honours the isolation level", async () => {
      const level = await database().transaction((tx) => tx.query("SHOW transaction_isolation"), {
        isolation: "serializable",
      });
      expect(level).toEqual([{ transaction_isolation: "serializable" }]);
    });

    it("rolls back and gives the caller's reason when aborted between statements", async () => {
      const { db, table } = await fresh();
      const controller = new AbortController();
      const reason = new Error("changed my mind");
      await expect(
        db.transaction(
          async (tx) => {
            await tx.query(`INSERT INTO ${table} VALUES (1)`);
            controller.abort(reason);
            await tx.query("SELECT 1");
          },
          { signal: controller.signal },
        ),
      ).rejects.toBe(reason);
      expect(await db.query(`SELECT id FROM ${table}`)).toEqual([]);
    });

    it("does nothing for a caller that aborted before or while waiting", async () => {
      const { db, table } = await fresh();
      const reason = new Error("gone");
      await expect(
        db.query(`INSERT INTO ${table} VALUES (1)`, [], { signal: AbortSignal.abort(reason) }),
      ).rejects.toBe(reason);
      expect(await db.query(`SELECT id FROM ${table}`)).toEqual([]);
    });
  });

  describe(`sql on ${kind}: notifications`, () => {
    /** Nobody else's on a server that others use too. */
    const freshChannel = (): string => `chan "${Math.random().toString(36).slice(2)}"`;

    it("delivers a notification after commit, in order, and none of a rolled-back transaction", async () => {
      const db = database();
      const channel = freshChannel();
      const seen: string[] = [];
      await using _listener = await db.listen(channel, (payload) => seen.push(payload));
      await db
        .transaction(async (tx) => {
          await tx.query("SELECT pg_notify($1, 'never')", [channel]);
          throw new Error("no");
        })
        .catch(() => undefined);
      await db.transaction(async (tx) => {
        await tx.query("SELECT pg_notify($1, $2)", [channel, "one"]);
        await tx.query("SELECT pg_notify($1, $2)", [channel, "two"]);
      });
      await vi.waitFor(() => expect(seen).toEqual(["one", "two"]));
    });

    it("lets a listener use the database, and survives one that throws", async () => {
      const db = database();
      const channel = freshChannel();
      const answers: unknown[] = [];
      await using _bad = await db.listen(channel, () => {
        throw new Error("listener bug");
      });
      await using _good = await db.listen(channel, () => {
        void db.query("SELECT 1 AS one").then((rows) => answers.push(rows));
      });
      await db.transaction((tx) => tx.query("SELECT pg_notify($1, NULL)", [channel]));
      await vi.waitFor(() => expect(answers).toEqual([[{ one: 1 }]]));
    });

    it("stops delivering to a disposed listener and goes on for the others", async () => {
      const db = database();
      const channel = freshChannel();
      const first: string[] = [];
      const second: string[] = [];
      const listener = await db.listen(channel, (payload) => first.push(payload));
      await using _other = await db.listen(channel, (payload) => second.push(payload));
      await listener[Symbol.asyncDispose]();
      await db.query("SELECT pg_notify($1, 'x')", [channel]);
      await vi.waitFor(() => expect(second).toEqual(["x"]));
      expect(first).toEqual([]);
      await expect(db.listen("", () => undefined)).rejects.toSatisfy((error) =>
        hasCode(error, "KERNEL_INVALID_INPUT"),
      );
    });
  });

  describe(`sql on ${kind}: statistics`, () => {
    it("counts statements, failures and how transactions ended", async () => {
      const db = database();
      const before = db.stats();
      await db.query("SELECT 1");
      await codeOf(db.query("SELEC"));
      await db.transaction((tx) => tx.query("SELECT 1"));
      await db
        .transaction(async () => {
          throw new Error("no");
        })
        .catch(() => undefined);
      // A connection is looked at after an error before it counts as idle.
      await vi.waitFor(() => expect(db.stats().busyCount).toBe(0));
      const after = db.stats();
      expect(after.statementFailedCount - before.statementFailedCount).toBe(1);
      expect(after.transactionCount - before.transactionCount).toBe(2);
      expect(after.committedCount - before.committedCount).toBe(1);
      expect(after.rolledBackCount - before.rolledBackCount).toBe(1);
      expect(after.sessionOpenedCount).toBe(
        after.sessionCount + Object.values(after.sessionClosedCounts).reduce((sum, count) => sum + count, 0),
      );
    });
  });
};
