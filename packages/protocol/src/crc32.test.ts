import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { crc32, crc32ByTable } from "./crc32.ts";

const ascii = (text: string): Uint8Array => new TextEncoder().encode(text);

describe("crc32", () => {
  it("gives the check value of the standard", () => {
    expect(crc32ByTable(ascii("123456789"))).toBe(0xcbf43926);
    expect(crc32(ascii("123456789"))).toBe(0xcbf43926);
    expect(crc32(new Uint8Array(0))).toBe(0);
  });

  it("agrees with the table at every length and offset", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 700 }), fc.nat(20), fc.nat(20), (bytes, before, after) => {
        const start = Math.min(before, bytes.length);
        const end = Math.max(start, bytes.length - after);
        expect(crc32(bytes, start, end)).toBe(crc32ByTable(bytes.slice(start, end)));
      }),
    );
  });
});
