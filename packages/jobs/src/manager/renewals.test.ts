import type { RenewOutcome, TaskQueue, TaskRef } from "@holdfast/coordination";
import { expect, it } from "vitest";
import { Renewals } from "./renewals.ts";

/** Renews what it can read; a statement with anything else fails as a whole, as PostgreSQL has it. */
const strictQueue = () => {
  const statements: (readonly TaskRef[])[] = [];
  const renew = async (refs: readonly TaskRef[]): Promise<readonly RenewOutcome[]> => {
    statements.push(refs);
    for (const { id, token } of refs) {
      if (id.includes("\0") || BigInt.asIntN(64, token) !== token) throw new Error("cannot be read");
    }
    return refs.map(({ id }) => (id === "taken" ? "lost" : "renewed"));
  };
  return { statements, queue: { renew } as unknown as TaskQueue<unknown> };
};

it("claims that no store can have granted are lost, and those that others renew with them are renewed", async () => {
  const { queue, statements } = strictQueue();
  const renewals = new Renewals({ queue, leaseMs: 5_000 });
  const claims: readonly (readonly TaskRef[])[] = [
    [{ id: "first", token: 1n }],
    [{ id: "a", token: 2n ** 63n - 1n }],
    [
      { id: "b", token: 2n ** 63n },
      { id: "c", token: 4n },
      { id: "d\0", token: 5n },
      { id: "taken", token: 6n },
    ],
    [{ id: "e", token: 9_999_999_999_999_999_999n }],
  ];
  expect(await Promise.all(claims.map((refs) => renewals.renew(refs)))).toEqual([
    ["renewed"],
    ["renewed"],
    ["lost", "renewed", "lost", "lost"],
    ["lost"],
  ]);
  expect(statements.map((refs) => refs.map(({ id }) => id))).toEqual([["first", "a", "c", "taken"]]);
  await renewals.close();
});
