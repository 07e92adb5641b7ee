import { hasCode, InvalidInputError } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import type { Json } from "../json.ts";
import type { Log, LogRead, LogTailItem } from "../log/log.ts";
import type { Position } from "../position.ts";
import type { LogSetUp } from "./harness.ts";
import { expectLossRefused } from "./lossy-values.ts";

const payloadsOf = (read: LogRead): readonly Json[] => {
  if (read.kind === "reset") throw new Error(`reset: ${read.reason}`);
  return read.entries.map(({ payload }) => payload);
};

const appendTo = async (log: Log<never>, stream: string, ...payloads: Json[]): Promise<Position> => {
  const positions = await log.append(payloads.map((payload) => ({ stream, payload })));
  return positions.at(-1) as Position;
};

const nextOf = async (tail: AsyncIterator<LogTailItem>): Promise<LogTailItem> => {
  const { value, done } = await tail.next();
  if (done) throw new Error("the tail ended");
  return value as LogTailItem;
};

/** What every backend guarantees about logs. */
export const logSuite = (setUp: LogSetUp): void => {
  describe("log", () => {
    it("deletes thousands of streams in one call", async () => {
      await using harness = await setUp();
      const { log } = harness.store;
      const streams = Array.from({ length: 5000 }, (_, index) => `s${index}`);
      await log.append(
        [streams[0], streams[4999]].map((stream) => ({ stream: stream as string, payload: 1 })),
      );
      await log.delete(streams);
      expect((await log.bounds("s0")).head.offset).toBe(0n);
      expect((await log.bounds("s4999")).head.offset).toBe(0n);
    });

    it("numbers the entries of each stream 1, 2, 3 … and reads them back in order", async () => {
      await using harness = await setUp();
      const { log } = harness.store;
      const positions = await log.append([
        { stream: "b", payload: "b1" },
        { stream: "a", payload: "a1" },
        { stream: "b", payload: "b2" },
      ]);
      expect(positions.map(({ offset }) => offset)).toEqual([1n, 1n, 2n]);
      expect((await appendTo(log, "b", "b3")).offset).toBe(3n);
      const read = await log.read("b");
      expect(payloadsOf(read)).toEqual(["b1", "b2", "b3"]);
      expect(read.bounds).toEqual({ head: { epoch: positions[0]?.epoch, offset: 3n }, trimmedTo: 0n });
      if (read.kind !== "entries") return;
      expect(read.entries.map(({ position }) => position.offset)).toEqual([1n, 2n, 3n]);
      expect(read.entries[0]?.stream).toBe("b");
      expect(Math.abs((read.entries[0]?.appendedAt ?? 0) - (await harness.store.now()))).toBeLessThan(60_000);
    });

    it("keeps any JSON exactly", async () => {
      await using harness = await setUp();
      const { log } = harness.store;
      const payloads: Json[] = [
        null,
        true,
        0.1,
        -1e300,
        "",
        'quote " backslash \\ brace {} comma , NULL',
        "nul \u0000 lone \ud800 rocket 🚀 line\u2028\n",
        [],
        {},
        { b: 1, a: [null, { "": "\u0000" }], __proto: "x" },
        "9007199254740993",
      ];
      await appendTo(log, "json", ...payloads);
      expect(payloadsOf(await log.read("json"))).toEqual(payloads);
    });

    it("reads on from a position without gap or repeat, in pieces of the limit", async () => {
      await using harness = await setUp();
      const { log } = harness.store;
      await appendTo(log, "s", ...Array.from({ length: 10 }, (_, index) => index));
      const seen: Json[] = [];
      let after: Position | undefined;
      for (;;) {
        const read = await log.read("s", { after, limit: 3 });
        if (read.kind === "reset") throw new Error("reset");
        if (read.entries.length === 0) break;
        expect(read.entries.length).toBeLessThanOrEqual(3);
        seen.push(...payloadsOf(read));
        after = read.entries.at(-1)?.position;
      }
      expect(seen).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    });

    it("reads an unknown stream as empty and goes on from there when it begins", async () => {
      await using harness = await setUp();
      const { log } = harness.store;
      const read = await log.read("new");
      expect(payloadsOf(read)).toEqual([]);
      expect(read.bounds.head.offset).toBe(0n);
      expect(await log.bounds("new")).toEqual(read.bounds);
      await appendTo(log, "new", "first");
      expect(payloadsOf(await log.read("new", { after: read.bounds.head }))).toEqual(["first"]);
    });

    it("says reset where a position was trimmed away, and goes on after it", async () => {
      await using harness = await setUp();
      const { log } = harness.store;
      const last = await appendTo(log, "s", 1, 2, 3, 4);
      await log.trim("s", { upTo: 2n });
      const before = await log.read("s", { after: { ...last, offset: 1n } });
      expect(before).toEqual({ kind: "reset", reason: "trimmed", bounds: { head: last, trimmedTo: 2n } });
      expect((await log.read("s", { after: { ...last, offset: 0n } })).kind).toBe("reset");
      expect(payloadsOf(await log.read("s", { after: { ...last, offset: 2n } }))).toEqual([3, 4]);
      expect(payloadsOf(await log.read("s"))).toEqual([3, 4]);
      await log.trim("s", { upTo: 1n });
      expect((await log.bounds("s")).trimmedTo).toBe(2n);
      await log.trim("s", { upTo: 99n });
      expect(await log.bounds("s")).toEqual({ head: last, trimmedTo: 4n });
      expect((await appendTo(log, "s", 5)).offset).toBe(5n);
      expect(payloadsOf(await log.read("s"))).toEqual([5]);
    });

    it("begins a deleted stream anew under another epoch, and never mistakes an old position for a new one", async () => {
      await using harness = await setUp();
      const { log } = harness.store;
      const old = await appendTo(log, "s", 1, 2);
      await log.delete(["s", "unknown"]);
      expect(await log.read("s", { after: old })).toMatchObject({ kind: "reset", reason: "epoch-changed" });
      const renewed = await appendTo(log, "s", "a", "b", "c");
      expect(renewed.offset).toBe(3n);
      expect(renewed.epoch).not.toBe(old.epoch);
      expect(await log.read("s", { after: old })).toMatchObject({ kind: "reset", reason: "epoch-changed" });
      expect(payloadsOf(await log.read("s"))).toEqual(["a", "b", "c"]);
    });

    it("says reset for a position ahead of the head", async () => {
      await using harness = await setUp();
      const { log } = harness.store;
      const last = await appendTo(log, "s", 1);
      expect(await log.read("s", { after: { ...last, offset: 7n } })).toMatchObject({
        kind: "reset",
        reason: "ahead-of-head",
      });
    });

    it("gives concurrent appenders gapless offsets, each payload once", async () => {
      await using harness = await setUp();
      const { log } = harness.store;
      await Promise.all(
        Array.from({ length: 20 }, (_, writer) =>
          log.append(
            Array.from({ length: 10 }, (_, index) => ({
              // Streams in different order per writer: appends must not deadlock.
              stream: `s${(index + writer) % 2}`,
              payload: writer * 100 + index,
            })),
          ),
        ),
      );
      const all: Json[] = [];
      for (const stream of ["s0", "s1"]) {
        const read = await log.read(stream);
        if (read.kind === "reset") throw new Error("reset");
        expect(read.entries.map(({ position }) => Number(position.offset))).toEqual(
          Array.from({ length: 100 }, (_, index) => index + 1),
        );
        all.push(...payloadsOf(read));
      }
      expect(new Set(all).size).toBe(200);
    });

    it("follows a stream: what is there first, then what comes, until the signal aborts", async () => {
      await using harness = await setUp();
      const { log } = harness.store;
      await appendTo(log, "s", 1, 2);
      const controller = new AbortController();
      const tail = log
        .tail("s", { signal: controller.signal, limit: 1, pollMs: 3_600_000 })
        [Symbol.asyncIterator]();
      expect(payloadsOf(await nextOf(tail))).toEqual([1]);
      expect(payloadsOf(await nextOf(tail))).toEqual([2]);
      const waiting = nextOf(tail);
      await appendTo(log, "s", 3);
      expect(payloadsOf(await waiting)).toEqual([3]);
      const aborted = nextOf(tail);
      const reason = new Error("enough");
      controller.abort(reason);
      await expect(aborted).rejects.toBe(reason);
    });

    it("wakes every follower of every stream of an append", async () => {
      await using harness = await setUp();
      const { log } = harness.store;
      const controller = new AbortController();
      const tails = ["a", "b", "c", "a"].map((stream) =>
        log.tail(stream, { signal: controller.signal, pollMs: 3_600_000 })[Symbol.asyncIterator](),
      );
      const waiting = tails.map(nextOf);
      await log.append(["a", "b", "c"].map((stream) => ({ stream, payload: stream })));
      expect((await Promise.all(waiting)).map(payloadsOf)).toEqual([["a"], ["b"], ["c"], ["a"]]);
      await Promise.all(tails.map((tail) => tail.return?.()));
    });

    it("tells a follower once that its stream was deleted, and then follows the new life", async () => {
      await using harness = await setUp();
      const { log } = harness.store;
      await appendTo(log, "s", 1, 2);
      const controller = new AbortController();
      const tail = log.tail("s", { signal: controller.signal, pollMs: 3_600_000 })[Symbol.asyncIterator]();
      expect(payloadsOf(await nextOf(tail))).toEqual([1, 2]);
      const waiting = nextOf(tail);
      await log.delete(["s"]);
      expect(await waiting).toMatchObject({ kind: "reset", reason: "epoch-changed" });
      const renewed = nextOf(tail);
      await appendTo(log, "s", "new");
      expect(payloadsOf(await renewed)).toEqual(["new"]);
      await tail.return?.();
    });

    it("refuses a payload above the limit and appends nothing of that call", async () => {
      await using harness = await setUp();
      const { log } = harness.store;
      const error = await log
        .append([
          { stream: "s", payload: 1 },
          { stream: "s", payload: "x".repeat(1_048_577) },
        ])
        .catch((reason) => reason);
      expect(hasCode(error, "COORDINATION_PAYLOAD_TOO_LARGE")).toBe(true);
      expect((await log.bounds("s")).head.offset).toBe(0n);
      await appendTo(log, "s", "x".repeat(1_048_574));
    });

    it("refuses what is not JSON, and stream names that no store could keep", async () => {
      await using harness = await setUp();
      const { log } = harness.store;
      const payload = undefined as unknown as Json;
      await expect(log.append([{ stream: "s", payload }])).rejects.toThrow(InvalidInputError);
      await expect(log.append([{ stream: "", payload: 1 }])).rejects.toThrow(InvalidInputError);
      await expect(log.read("s", { limit: 0 })).rejects.toThrow(InvalidInputError);
      expect(await log.append([])).toEqual([]);
    });

    it("refuses what it could not give back as it was, by path and kind, and appends nothing of that call", async () => {
      await using harness = await setUp();
      const { log } = harness.store;
      await expectLossRefused("the entry for s", (payload) =>
        log.append([
          { stream: "s", payload: 1 },
          { stream: "s", payload },
        ]),
      );
      expect((await log.bounds("s")).head.offset).toBe(0n);
    });
  });
};
