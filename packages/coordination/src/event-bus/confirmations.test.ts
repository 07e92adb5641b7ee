import { deferred } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import { setUpBus } from "../testing/bus-fixtures.ts";

describe("the sender of a critical event", () => {
  it("hears of it when all handlers have settled; others do not wait", async () => {
    const { bus, clock, settle } = setUpBus();
    const gate = deferred<void>();
    bus.subscribe("a", () => gate.promise);
    bus.subscribe("a", () => Promise.reject(new Error("no")), { name: "broken" });
    bus.start();
    await bus.publish("a", {});
    let isConfirmed = false;
    const confirmed = bus.deliver("a", {}).then((delivery) => {
      isConfirmed = true;
      return delivery;
    });
    await clock.advance(1000);
    expect(isConfirmed).toBe(false);
    gate.resolve();
    await settle();
    expect(await confirmed).toMatchObject({
      handlerCount: 2,
      failures: [{ subscription: "broken", error: new Error("no") }],
    });
  });
});
