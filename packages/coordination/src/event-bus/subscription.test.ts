import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import { EventBus } from "./event-bus.ts";

describe("a subscription", () => {
  it("counts a handler whose promise of its own kind throws as failed, once, and keeps its order", async () => {
    const clock = new VirtualClock();
    const bus = new EventBus({ clock });
    const broken = {
      // biome-ignore lint/suspicious/noThenProperty: that is what is tested.
      then: () => {
        throw new Error("broken");
      },
    };
    let runningCount = 0;
    let most = 0;
    const subscription = bus.subscribe(
      "a",
      ({ data }) => {
        if (data === "broken") return broken;
        runningCount += 1;
        most = Math.max(most, runningCount);
        return clock.sleep(10).then(() => {
          runningCount -= 1;
        });
      },
      { timeoutMs: 1000 },
    );
    bus.start();
    await bus.publish("a", "broken");
    await clock.advance(2000);
    expect(subscription.stats()).toMatchObject({ failed: 1, timedOut: 0, running: 0 });
    await bus.publish("a", 1);
    await bus.publish("a", 2);
    await clock.advance(100);
    expect(most).toBe(1);
    expect(subscription.stats()).toMatchObject({ received: 3, succeeded: 2, failed: 1, running: 0 });
    await bus.stop();
  });
});
