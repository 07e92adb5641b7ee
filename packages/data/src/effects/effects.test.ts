import { OutcomeUnknownError } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import type { Database, Transaction } from "../sql/database.ts";
import { createEffects } from "./effects.ts";

type Sql = Pick<Database, "query" | "transaction">;

const sqlOf = (commit: () => Promise<void>): Sql => {
  const tx = { query: async () => [] } as unknown as Transaction;
  return {
    query: async () => [],
    transaction: async (body) => {
      const result = await body(tx);
      await commit();
      return result;
    },
  };
};
const REQUEST = { scope: "job/1", name: "charge", fence: 1n };

describe("an effect whose outcome is unknown", () => {
  it("may be tried again when it is its own commit, because the next attempt finds out", async () => {
    const effects = createEffects({ sql: sqlOf(() => Promise.reject(new OutcomeUnknownError("COMMIT"))) });
    await expect(effects.run(REQUEST, async () => 1)).rejects.toMatchObject({
      code: "KERNEL_OUTCOME_UNKNOWN",
      retryable: true,
    });
  });

  it("fails as its body failed when that did something elsewhere, which another attempt would do twice", async () => {
    const effects = createEffects({ sql: sqlOf(() => Promise.resolve()) });
    const elsewhere = new OutcomeUnknownError("payment");
    await expect(effects.run(REQUEST, () => Promise.reject(elsewhere))).rejects.toBe(elsewhere);
    expect(elsewhere.retryable).toBe(false);
  });
});

describe("an effect whose result JSON would change without a word", () => {
  it("is refused by the path to what would be lost, before anything is stored", async () => {
    const written: string[] = [];
    let committedCount = 0;
    const tx = {
      query: async (text: string) => {
        written.push(text);
        return [];
      },
    } as unknown as Transaction;
    const effects = createEffects({
      sql: {
        query: async () => [],
        transaction: async (body) => {
          const result = await body(tx);
          committedCount += 1;
          return result;
        },
      },
    });
    const lossy: readonly (readonly [result: unknown, path: string])[] = [
      [{ charged: new Map([["a", 1]]) }, "result.charged"],
      [{ failures: [new Error("declined")] }, "result.failures[0]"],
      [{ sum: Number.NaN }, "result.sum"],
      [{ id: 1n }, "result.id"],
      [() => 1, "result"],
    ];
    for (const [result, field] of lossy) {
      await expect(effects.run(REQUEST, async () => result as never)).rejects.toMatchObject({
        code: "KERNEL_INVALID_INPUT",
        retryable: false,
        details: { field },
      });
    }
    expect(committedCount).toBe(0);
    expect(written.filter((text) => text.includes("effect_results (scope"))).toEqual([]);
    await expect(effects.run(REQUEST, async () => undefined as never)).resolves.toBeNull();
    await expect(effects.run(REQUEST, async () => ({ at: new Date(0) }) as never)).resolves.toEqual({
      at: "1970-01-01T00:00:00.000Z",
    });
  });
});
