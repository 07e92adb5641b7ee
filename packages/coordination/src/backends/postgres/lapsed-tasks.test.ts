import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import { ClaimCursor } from "./claim-cursor.ts";
import { LapsedTasks } from "./lapsed-tasks.ts";
import type { StatementRunner } from "./statement-runner.ts";

const FRONT = ClaimCursor.beginning;

/** The store answers that the next one is due in so many milliseconds; null when there is none. */
const nextDueInMs = (
  dueInMs: number | null,
  front: typeof FRONT | undefined,
): Promise<number | undefined> => {
  const statements = { run: async () => [{ due_in_ms: dueInMs }] } as unknown as StatementRunner;
  const lapsed = new LapsedTasks("q", { statements, clock: new VirtualClock(), returned: "" });
  return lapsed.nextDueInMs(front, {});
};

describe("how long until a task is due", () => {
  it("is what the store says when it has looked at everything", async () => {
    expect(await nextDueInMs(null, undefined)).toBeUndefined();
    expect(await nextDueInMs(30_000, undefined)).toBe(30_000);
    expect(await nextDueInMs(-5, undefined)).toBe(0);
  });

  it("is a second at most when what came late was left out, which may be due already", async () => {
    expect(await nextDueInMs(null, FRONT)).toBe(1_000);
    expect(await nextDueInMs(30_000, FRONT)).toBe(1_000);
    expect(await nextDueInMs(20, FRONT)).toBe(20);
  });
});
