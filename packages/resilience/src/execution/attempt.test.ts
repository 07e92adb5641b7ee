import { seededRandom } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import { type CallContext, CircuitBreaker, compose, Retry, Timeout } from "../index.ts";

const never = () => new Promise<never>(() => undefined);

describe("a scope that serves one call after the other", () => {
  it("leaves a context that a body kept for longer than its call with nothing of the calls after it", async () => {
    const clock = new VirtualClock();
    const timeout = new Timeout({ timeoutMs: 10, clock });
    const kept: CallContext[] = [];
    await timeout.execute(async (context) => void kept.push(context));
    const { signal } = await timeout.execute(async (context) => ({ signal: context.signal }));
    const late = timeout.execute(never);
    const refused = expect(late).rejects.toMatchObject({ code: "KERNEL_TIMEOUT" });
    await clock.advance(10);
    await refused;
    const [context] = kept as [CallContext];
    expect(signal.aborted).toBe(false);
    expect(context.signal.aborted).toBe(false);
    expect(context.deadlineAt).toBe(Number.POSITIVE_INFINITY);
    // Work that is begun with it belongs to nobody's call.
    const begun = new Timeout({ timeoutMs: 1_000, clock }).execute(() => clock.sleep(500), context);
    timeout.execute(never).catch(() => undefined);
    await clock.advance(500);
    await expect(begun).resolves.toBeUndefined();
  });

  it("is not used again while an inner call that outlived its outer one hangs on it", async () => {
    const clock = new VirtualClock();
    const outer = new Timeout({ timeoutMs: 10, clock });
    const inner = new CircuitBreaker({ clock });
    let orphan: Promise<void> | undefined;
    await outer.execute(async (context) => {
      orphan = inner.execute(() => clock.sleep(100), context);
    });
    for (let index = 0; index < 3; index += 1) outer.execute(never).catch(() => undefined);
    await clock.advance(200);
    await expect(orphan).resolves.toBeUndefined();
  });

  it("gives every one of many mixed calls its own end, whatever ends before, beside and after it", async () => {
    const clock = new VirtualClock();
    const random = seededRandom(3);
    const policy = compose({
      retry: new Retry({ maxAttempts: 2, clock, random }),
      breaker: new CircuitBreaker({ clock, trip: { mode: "consecutive", failureMaxCount: 100_000 } }),
      timeout: new Timeout({ timeoutMs: 50, clock }),
    });
    const endings = new Set<string>();
    const call = async (index: number): Promise<void> => {
      await clock.sleep(random.next() * 500);
      const ms = Math.floor(random.next() * 70);
      const fails = random.next() < 0.2;
      const controller = new AbortController();
      const abortsAfterMs = random.next() < 0.2 ? random.next() * 60 : undefined;
      if (abortsAfterMs !== undefined)
        clock.schedule(abortsAfterMs, () => controller.abort(`aborted ${index}`));
      const body = async ({ signal }: CallContext): Promise<number> => {
        await clock.sleep(ms, { signal });
        if (fails) throw new Error(`failed ${index}`);
        return index;
      };
      try {
        expect(await policy.execute(body, { signal: controller.signal })).toBe(index);
        expect(ms).toBeLessThanOrEqual(50);
        endings.add("value");
      } catch (error) {
        if (error === `aborted ${index}`) endings.add("abort");
        else if (error instanceof Error && error.message === `failed ${index}`) endings.add("failure");
        else {
          expect(error).toMatchObject({ code: "KERNEL_TIMEOUT" });
          expect(ms).toBeGreaterThanOrEqual(50);
          endings.add("timeout");
        }
      }
    };
    let endedCount = 0;
    const calls = Array.from({ length: 2_000 }, (_, index) =>
      call(index).finally(() => {
        endedCount += 1;
      }),
    );
    await clock.advanceUntil(() => endedCount === calls.length, 300_000);
    await Promise.all(calls);
    expect([...endings].sort()).toEqual(["abort", "failure", "timeout", "value"]);
  });
});
