import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import { CircuitBreaker } from "./circuit-breaker.ts";

describe("a circuit breaker whose judgement of errors throws", () => {
  it("takes the error for a failure, also that of a probe, and keeps no permit", async () => {
    const clock = new VirtualClock();
    const breaker = new CircuitBreaker({
      clock,
      trip: { mode: "consecutive", failureMaxCount: 3 },
      isFailure: (error) => (error as { status: number }).status >= 500,
    });
    const states: string[] = [];
    breaker.events.on("stateChanged", ({ from, to }) => states.push(`${from} -> ${to}`));
    const reject = () => breaker.execute(() => Promise.reject(undefined));
    for (let call = 0; call < 3; call += 1) await expect(reject()).rejects.toBeUndefined();
    await clock.advance(60_000);
    await expect(reject()).rejects.toBeUndefined();
    expect(states).toEqual(["closed -> open", "open -> half-open", "half-open -> open"]);
    expect(breaker.stats).toMatchObject({ callCount: 4, failureCount: 4, inFlightCount: 0 });
  });
});
