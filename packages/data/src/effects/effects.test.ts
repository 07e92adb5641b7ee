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
