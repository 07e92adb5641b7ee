import { describe, expect, it } from "vitest";
import type { TaskDraft } from "../../queue/task-draft.ts";
import { PieceReader, packPayloads } from "./payload-pieces.ts";

const draft = (payloadText: string): TaskDraft => ({ payloadText }) as TaskDraft;
const ids = (count: number): readonly string[] => Array.from({ length: count }, (_, index) => `id-${index}`);

describe("payloads of tasks that are added together", () => {
  it("lie with their tasks when they are short, or few", () => {
    const short = Array.from({ length: 10_000 }, () => draft("x".repeat(100)));
    expect(packPayloads(short, ids(10_000))).toBeUndefined();
    const few = Array.from({ length: 20 }, () => draft("x".repeat(2_000)));
    expect(packPayloads(few, ids(20))).toBeUndefined();
  });

  it("are found by their first and last byte, whatever characters they have", () => {
    const texts = Array.from({ length: 200 }, (_, index) =>
      index % 5 === 0 ? "1" : "é😀a".repeat(300 + index),
    );
    const packed = packPayloads(texts.map(draft), ids(200));
    expect(packed?.pieces.length).toBeGreaterThan(2);
    const found = packed?.stored.map((stored) => {
      const [, from, to, ref] = /^=(\d+) (\d+) (.*)$/.exec(stored) ?? [];
      if (ref === undefined) return stored;
      const piece = packed.pieces.find((candidate) => candidate.ref === ref);
      return piece?.content.toString("utf8", Number(from), Number(to) + 1);
    });
    expect(found).toEqual(texts);
    const counted = packed?.pieces.reduce((sum, { count }) => sum + count, 0);
    expect(counted).toBe(texts.filter((text) => text !== "1").length);
  });

  it("are read one after the other, and none in place of one that is lost", () => {
    const reader = new PieceReader([2, '"a"\n"b"', "3", "", 1, '"c"', 2, '"d"']);
    expect(Array.from({ length: 9 }, () => reader.read())).toEqual([
      '"a"',
      '"b"',
      "",
      "",
      "",
      '"c"',
      "",
      "",
      "",
    ]);
  });
});
