import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import { ClaimCursor, type Look } from "./claim-cursor.ts";
import type { ClaimRow } from "./task-rows.ts";

const row = (seq: number, priority = 1): ClaimRow =>
  ({ priority, run_us: 1000, seq: `${seq}` }) as unknown as ClaimRow;
const normal = (seq: number) => [null, null, null, null, 1000, `${seq}`, null, null];
const BEGINNING = Array.from({ length: 8 }, () => null);

const setUp = () => {
  const clock = new VirtualClock();
  const cursor = new ClaimCursor(clock);
  const end = (look: Look, rows: readonly ClaimRow[], maxCount = rows.length): void =>
    cursor.end(look, rows, maxCount);
  return {
    clock,
    cursor,
    end,
    begin: () => cursor.begin(),
  };
};

describe("a claim cursor", () => {
  it("goes on where the last claim ended, and back to the beginning after a while", async () => {
    const { clock, begin, end } = setUp();
    const first = begin();
    expect(first.from).toEqual(BEGINNING);
    end(first, [row(1), row(2)]);
    expect(begin().from).toEqual(normal(2));
    end(begin(), [row(3)]);
    expect(begin().from).toEqual(normal(3));
    await clock.advance(200);
    expect(begin().from).toEqual(BEGINNING);
  });

  it("looks from the beginning again when tasks came back during a look, which may have missed them", () => {
    const { cursor, begin, end } = setUp();
    const look = begin();
    cursor.reset();
    end(look, [row(1)]);
    expect(begin().from).toEqual(BEGINNING);
    end(begin(), [row(2)]);
    expect(begin().from).toEqual(normal(2));
  });

  it("looks over each reach for a hundredth of the time where that is dear, and from nearer as often as ever", async () => {
    const { clock, begin, end } = setUp();
    const looks: Look[] = [];
    for (let seq = 0; seq < 200; seq += 1) {
      const look = begin();
      looks.push(look);
      await clock.advance([1, 41, 401, 401][look.reach ?? 0] as number);
      end(look, [row(seq)]);
      await clock.advance(199);
    }
    const countOf = (reach: number): number => looks.filter((look) => look.reach === reach).length;
    // Of 40 seconds. The first look had nothing to be compared with.
    expect([countOf(3), countOf(2)]).toEqual([2, 1]);
    expect(countOf(1)).toBeGreaterThan(6);
    expect(countOf(1)).toBeLessThan(12);
    expect(countOf(0)).toBeGreaterThan(80);
    // A second ago: at least five claims back, and at most a note more.
    const last = looks.findLast(({ reach }) => reach === 0) as Look;
    const distance = looks.indexOf(last) - 1 - Number(last.from[5]);
    expect(distance).toBeGreaterThanOrEqual(4);
    expect(distance).toBeLessThanOrEqual(8);
  });

  it("takes the nearest look that is cheap when a claim did not find all it asked for", async () => {
    const { clock, begin, end } = setUp();
    for (const tookMs of [1, 1]) {
      const look = begin();
      await clock.advance(tookMs);
      end(look, [row(1)]);
    }
    end(begin(), [], 5);
    expect(begin().reach).toBe(3);
    // From every reach it is dear, one after the other.
    for (const reach of [3, 2, 1, 0]) {
      const look = begin();
      expect(look.reach).toBe(reach);
      await clock.advance(100);
      end(look, [], 5);
    }
    expect(begin().reach).toBeUndefined();
  });

  it("goes back to what came late as long as there may be more of it, and then on where it was", async () => {
    const { clock, begin, end } = setUp();
    end(begin(), [row(50)]);
    await clock.advance(200);
    end(begin(), [row(7), row(8)], 2);
    expect(begin().from).toEqual(normal(8));
    end(begin(), [row(50), row(51)], 2);
    await clock.advance(200);
    const look = begin();
    expect(look.from).toEqual(BEGINNING);
    end(look, [row(9)], 2);
    end(begin(), [], 0);
    expect(begin().from).toEqual(normal(51));
  });
});
