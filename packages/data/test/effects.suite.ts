import { OutcomeUnknownError } from "@holdfast/kernel";
import { beforeAll, describe, expect, it } from "vitest";
import { createEffects, type Database, type Effects } from "../src/index.ts";

/** What `createEffects` guarantees on every kind of database. */
export const effectsSuite = (kind: string, database: () => Database): void => {
  describe(`effects on ${kind}`, () => {
    let effects: Effects;
    /** Nobody else's on a server that others use too. */
    const schema = `effects of test ${Math.random().toString(36).slice(2)}`;
    const table = `effect_rows_${Math.random().toString(36).slice(2)}`;
    let scopeCount = 0;
    const newScope = (): string => {
      scopeCount += 1;
      return `job-${scopeCount}/import/0`;
    };
    beforeAll(async () => {
      effects = createEffects({ sql: database(), schema });
      await Promise.all([effects.migrate(), effects.migrate(), effects.migrate()]);
      await database().query(`CREATE TABLE ${table} (scope text, n int)`);
    });
    const insert = (scope: string, n: number) => async (tx: Pick<Database, "query">) => {
      await tx.query(`INSERT INTO ${table} VALUES ($1, $2)`, [scope, n]);
      return { n };
    };
    const rowsOf = async (scope: string): Promise<unknown[]> =>
      (
        await database().query<{ n: number }>(`SELECT n FROM ${table} WHERE scope = $1 ORDER BY n`, [scope])
      ).map((row) => row.n);

    it("runs an effect once and gives later attempts the stored result", async () => {
      const scope = newScope();
      expect(await effects.run({ scope, name: "rows", fence: 5n }, insert(scope, 1))).toEqual({ n: 1 });
      expect(await effects.run({ scope, name: "rows", fence: 5n }, insert(scope, 2))).toEqual({ n: 1 });
      expect(await effects.run({ scope, name: "rows", fence: 2n ** 62n }, insert(scope, 3))).toEqual({
        n: 1,
      });
      expect(await rowsOf(scope)).toEqual([1]);
    });

    it("refuses an owner that has been replaced, also for an effect that is done", async () => {
      const scope = newScope();
      await effects.run({ scope, name: "first", fence: 7n }, insert(scope, 1));
      for (const name of ["first", "second"]) {
        await expect(effects.run({ scope, name, fence: 6n }, insert(scope, 2))).rejects.toMatchObject({
          code: "DATA_STALE_FENCE",
          retryable: false,
          token: 6n,
          seenToken: 7n,
        });
      }
      expect(await rowsOf(scope)).toEqual([1]);
    });

    it("leaves nothing of a failed effect, neither rows nor fence, so it can be tried again", async () => {
      const scope = newScope();
      const failure = new Error("half done");
      await expect(
        effects.run({ scope, name: "rows", fence: 9n }, async (tx) => {
          await insert(scope, 1)(tx);
          throw failure;
        }),
      ).rejects.toBe(failure);
      expect(await rowsOf(scope)).toEqual([]);
      expect(await effects.run({ scope, name: "rows", fence: 9n }, insert(scope, 2))).toEqual({ n: 2 });
    });

    it("runs an effect once when several attempts race, whatever their order", async () => {
      const scope = newScope();
      const outcomes = await Promise.allSettled(
        Array.from({ length: 12 }, (_, n) =>
          effects.run({ scope, name: "rows", fence: BigInt((n * 5) % 12) }, insert(scope, n)),
        ),
      );
      expect(await rowsOf(scope)).toHaveLength(1);
      const results = outcomes.flatMap((outcome) => (outcome.status === "fulfilled" ? [outcome.value] : []));
      expect(new Set(results.map(({ n }) => n)).size).toBe(1);
      for (const outcome of outcomes) {
        if (outcome.status === "rejected") expect(outcome.reason).toMatchObject({ code: "DATA_STALE_FENCE" });
      }
    });

    it("gives the first call the same value as later ones, whatever JSON does to it", async () => {
      const scope = newScope();
      const body = async (): Promise<string> => new Date(0) as unknown as string;
      const first = await effects.run({ scope, name: "odd", fence: 1n }, body);
      expect(first).toBe("1970-01-01T00:00:00.000Z");
      expect(await effects.run({ scope, name: "odd", fence: 1n }, body)).toBe(first);
      const text = await effects.run({ scope, name: "nul", fence: 1n }, async () => "a\0b");
      expect(await effects.run({ scope, name: "nul", fence: 1n }, async () => "other")).toBe(text);
      expect(await effects.run({ scope, name: "null", fence: 1n }, async () => null)).toBeNull();
      expect(await effects.run({ scope, name: "null", fence: 1n }, async () => null)).toBeNull();
    });

    it("forgets a job with its scopes, and no other", async () => {
      for (const scope of ["old/import/0", "old/import/1", "old", "older/import/0", "old-1/x/0"]) {
        await effects.run({ scope, name: "e", fence: 5n }, async () => 1);
      }
      expect(await effects.forget("old")).toBe(3);
      expect(await effects.run({ scope: "old/import/0", name: "e", fence: 1n }, async () => 2)).toBe(2);
      expect(await effects.run({ scope: "older/import/0", name: "e", fence: 5n }, async () => 2)).toBe(1);
    });

    it("says that a lost commit answer may be asked for again, because the second call finds out", async () => {
      const scope = newScope();
      const db = database();
      let lost = false;
      const losing = createEffects({
        schema,
        sql: {
          query: db.query.bind(db),
          transaction: async (body, options) => {
            const result = await db.transaction(body, options);
            if (lost) return result;
            lost = true;
            throw new OutcomeUnknownError("COMMIT");
          },
        },
      });
      await expect(losing.run({ scope, name: "rows", fence: 1n }, insert(scope, 1))).rejects.toMatchObject({
        code: "KERNEL_OUTCOME_UNKNOWN",
        retryable: true,
      });
      expect(await losing.run({ scope, name: "rows", fence: 1n }, insert(scope, 2))).toEqual({ n: 1 });
      expect(await rowsOf(scope)).toEqual([1]);
    });

    it("refuses names and fences that it cannot store", async () => {
      const body = async (): Promise<number> => 1;
      for (const request of [
        { scope: "", name: "e", fence: 1n },
        { scope: "s", name: "é".repeat(251), fence: 1n },
        { scope: "s", name: "e", fence: -1n },
        { scope: "s", name: "e", fence: 2n ** 63n },
      ]) {
        await expect(effects.run(request, body)).rejects.toMatchObject({ code: "KERNEL_INVALID_INPUT" });
      }
    });
  });
};
