import { describe, expect, it, vi } from "vitest";
import { Fallback } from "./fallback.ts";

const conserve = (fallback: Fallback<unknown>) => {
  const stats = fallback.stats;
  expect(stats.callCount).toBe(
    stats.successCount + stats.fallbackCount + stats.failureCount + stats.abortCount + stats.inFlightCount,
  );
  return stats;
};

describe("Fallback", () => {
  it("is not asked when the call succeeds", async () => {
    const answer = vi.fn();
    const fallback = new Fallback({ fallback: answer });
    await expect(fallback.execute(() => "own")).resolves.toBe("own");
    expect(answer).not.toHaveBeenCalled();
    expect(conserve(fallback).successCount).toBe(1);
  });

  it("answers a failed call and receives its error", async () => {
    const error = new Error("down");
    const answer = vi.fn(() => Promise.resolve("last known"));
    const fallback = new Fallback({ fallback: answer });
    const seen: unknown[] = [];
    fallback.events.on("fellBack", (event) => seen.push(event.error));
    await expect(fallback.execute(() => Promise.reject(error))).resolves.toBe("last known");
    expect(answer).toHaveBeenCalledExactlyOnceWith(error);
    expect(seen).toEqual([error]);
    expect(conserve(fallback).fallbackCount).toBe(1);
  });

  it("rethrows what it does not handle, and its own failure", async () => {
    const picky = new Fallback({ fallback: () => 1, shouldHandle: (error) => error instanceof RangeError });
    await expect(picky.execute(() => Promise.reject(new TypeError("bug")))).rejects.toThrow("bug");
    const broken = new Fallback({
      fallback: () => {
        throw new Error("also down");
      },
    });
    await expect(broken.execute(() => Promise.reject(new Error("down")))).rejects.toThrow("also down");
    expect(conserve(picky).failureCount).toBe(1);
    expect(conserve(broken).failureCount).toBe(1);
  });

  it("does not answer a caller who went away", async () => {
    const answer = vi.fn();
    const fallback = new Fallback({ fallback: answer });
    const controller = new AbortController();
    const call = fallback.execute(() => new Promise(() => undefined), { signal: controller.signal });
    controller.abort(new Error("gone"));
    await expect(call).rejects.toThrow("gone");
    expect(answer).not.toHaveBeenCalled();
    expect(conserve(fallback).abortCount).toBe(1);
  });

  it("refuses a fallback that is no function", () => {
    expect(() => new Fallback({ fallback: 1 as never })).toThrow(/fallback.fallback/);
  });
});
