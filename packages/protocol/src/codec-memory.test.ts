import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { encodeValue, giveBack } from "./codec.ts";
import { encodeMessage } from "./frame.ts";

const LIMIT = { frameMaxBytes: 1024 * 1024 };
const encode = (bytes: number, fill: number): Uint8Array =>
  encodeMessage("push", 1n, Buffer.alloc(bytes, fill), LIMIT);

/** Values until one is the first in new memory. */
const firstInItsMemory = (): Uint8Array => {
  const { buffer } = encode(4_000, 0);
  for (;;) {
    const frame = encode(4_000, 1);
    if (frame.buffer !== buffer) return frame;
  }
};

describe("memory that is given back", () => {
  it("takes the next value in the place of one that it held alone", () => {
    const first = firstInItsMemory();
    for (let round = 0; round < 100; round += 1) {
      giveBack(round === 0 ? first : encode(4_000, round));
      const next = encode(5_000, round);
      expect([next.buffer, next.byteOffset]).toEqual([first.buffer, first.byteOffset]);
      giveBack(next);
    }
  });

  it("keeps what else lies in it, given back once, twice, early, late or never", () => {
    const sizes = fc.oneof(fc.nat(6_000), fc.nat(300_000));
    const steps = fc.array(
      fc.record({ bytes: sizes, keptFor: fc.nat(4), isTwice: fc.boolean(), isValue: fc.boolean() }),
      { maxLength: 60 },
    );
    fc.assert(
      fc.property(steps, (plan) => {
        let held: { bytes: Uint8Array; copy: Uint8Array; until: number; isTwice: boolean }[] = [];
        for (const [now, step] of plan.entries()) {
          const bytes = step.isValue ? encodeValue(Buffer.alloc(step.bytes, now)) : encode(step.bytes, now);
          held.push({ ...step, bytes, copy: Uint8Array.from(bytes), until: now + step.keptFor });
          for (const entry of held) expect(Buffer.compare(entry.bytes, entry.copy)).toBe(0);
          for (const entry of held.filter(({ until }) => until === now)) {
            giveBack(entry.bytes);
            if (entry.isTwice) giveBack(entry.bytes);
          }
          held = held.filter(({ until }) => until > now);
        }
      }),
      { numRuns: 300 },
    );
  });

  it("is not the large one that a large message has left, when small ones follow", () => {
    encode(1_000_000, 1);
    const small = encode(100, 2);
    giveBack(small);
    const next = encode(100, 3);
    expect(next.buffer.byteLength).toBeLessThan(100_000);
    giveBack(next);
    expect(encode(100, 4).buffer).toBe(next.buffer);
  });

  it("keeps a value that came into new memory before the frame in the old was given back", () => {
    for (let round = 0; round < 50; round += 1) {
      const frame = encode(5_000, round);
      const value = encodeValue(Buffer.alloc(5_000, round));
      const copy = Uint8Array.from(value);
      giveBack(frame);
      encode(5_000, 99);
      expect(Buffer.compare(value, copy)).toBe(0);
    }
  });
});
