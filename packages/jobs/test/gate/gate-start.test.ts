import { describe, expect, it } from "vitest";
import { settle } from "../settle.ts";
import { setup } from "./gate-setup.ts";

describe("a gate that is starting", () => {
  it("turns nobody away for good while its store is slow to answer", async () => {
    await using t = await setup({
      wrap: (store, index) =>
        index === 0
          ? store
          : {
              ...store,
              [Symbol.asyncDispose]: async () => undefined,
              coordination: new Proxy(store.coordination, {
                get: (target, key) => {
                  if (key === "now") return () => t.clock.sleep(3_000).then(() => target.now());
                  const member: unknown = Reflect.get(target, key, target);
                  return typeof member === "function" ? member.bind(target) : member;
                },
              }),
            },
    });
    const client = t.newClient(["gate-1:7401"]);
    const submitted = client.submit({ workflows: [{ workflow: "w", input: { a: 1 } }] });
    submitted.catch(() => undefined);
    const late = await t.startGate(1);
    expect(await settle(t.clock, submitted)).toMatchObject({ status: "submitted" });
    await settle(t.clock, late.stop());
  });
});
