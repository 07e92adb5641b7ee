import { describe, expect, it } from "vitest";
import { allocate, SLAB_BYTES } from "./byte-slabs.ts";
import { decodeValue, encodeValue } from "./codec.ts";

describe("memory cut from slabs", () => {
  it("belongs to one owner only, whatever the sizes", () => {
    const sizes = Array.from({ length: 500 }, (_, index) => 1 + ((index * 977) % (SLAB_BYTES / 2)));
    const owned = sizes.map((size, index) => allocate(size).fill(index));
    owned.forEach((bytes, index) => {
      expect(bytes.length).toBe(sizes[index]);
      expect(bytes.every((byte) => byte === index % 256)).toBe(true);
    });
  });

  it("serves several messages of 4 KiB, and stays small after a large one", () => {
    const data = new Uint8Array(4_096).fill(7);
    const frames = Array.from({ length: 16 }, () => allocate(data.length));
    expect(new Set(frames.map(({ buffer }) => buffer)).size).toBeLessThanOrEqual(2);

    const large = encodeValue({ data: new Uint8Array(1024 * 1024) });
    encodeValue("the one that finds the large memory");
    const small = encodeValue({ data });
    expect(small.buffer.byteLength).toBeLessThanOrEqual(4 * SLAB_BYTES);
    const dataIn = (bytes: Uint8Array) => (decodeValue(bytes) as { readonly data: Uint8Array }).data;
    expect(dataIn(large).every((byte) => byte === 0)).toBe(true);
    expect(dataIn(large).length).toBe(1024 * 1024);
    expect([...dataIn(small)]).toEqual([...data]);
  });
});
