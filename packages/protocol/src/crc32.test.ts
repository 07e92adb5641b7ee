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

  it("gives what another writer of the same checksum gave for two messages", () => {
    /** Sender, recipient, sequence and milliseconds in 64 little-endian bits each, the kind in one byte, the payload. */
    const message = (numbers: readonly bigint[], kind: number, payload: readonly number[]): Uint8Array => {
      const bytes = new Uint8Array(33 + payload.length);
      const view = new DataView(bytes.buffer);
      for (const [index, number] of numbers.entries()) view.setBigUint64(index * 8, number, true);
      bytes[32] = kind;
      bytes.set(payload, 33);
      return bytes;
    };
    const data = message([1n, 2n, 100n, 1_704_067_200_000n], 2, [1, 2, 3, 4, 5]);
    expect([crc32(data), crc32ByTable(data)]).toEqual([0xd05f_00bc, 0xd05f_00bc]);
    const ping = message([0n, 1n, 0n, 0n], 0, []);
    expect([crc32(ping), crc32ByTable(ping)]).toEqual([0xdff7_aa83, 0xdff7_aa83]);
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
