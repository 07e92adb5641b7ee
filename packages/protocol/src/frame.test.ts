import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { encodeValue } from "./codec.ts";
import type { Compression } from "./compression.ts";
import { crc32 } from "./crc32.ts";
import {
  COMPRESSION_MIN_BYTES,
  decodeFrame,
  encodeFrame,
  encodeMessage,
  FRAME_MAX_BYTES,
  FRAME_OVERHEAD_BYTES,
  FRAME_TYPES,
  type Frame,
  type FrameType,
} from "./frame.ts";

const LIMIT = { frameMaxBytes: FRAME_MAX_BYTES };

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const bytesOf = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replaceAll(" ", ""), "hex"));

const anyFrame: fc.Arbitrary<Frame> = fc.record({
  type: fc.constantFrom<FrameType>(...FRAME_TYPES),
  sequence: fc.oneof(
    fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn }),
    fc.constantFrom(0n, 0xffff_ffffn, 0x1_0000_0000n, 2n ** 53n - 1n, 2n ** 53n, 0xffff_ffff_ffff_ffffn),
  ),
  payload: fc.uint8Array({ maxLength: 300 }),
});

/** Squeezes runs of one byte, refuses the rest: enough to see the frame's own rules. */
const runLength: Compression = {
  name: "run-length",
  compress: (bytes) =>
    bytes.every((byte) => byte === bytes[0]) ? Uint8Array.of(bytes[0] ?? 0) : new Uint8Array(bytes.length),
  decompress: (bytes, sizeMaxBytes) => new Uint8Array(sizeMaxBytes).fill(bytes[0] ?? 0),
};
const SQUEEZED = { frameMaxBytes: FRAME_MAX_BYTES, compression: runLength };

/** Recomputes the length and the checksum, so that a change reaches the checks behind them. */
const sealed = (bytes: Uint8Array): Uint8Array => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  view.setUint32(0, bytes.length - 4);
  view.setUint32(bytes.length - 4, crc32(bytes, 4, bytes.length - 4));
  return bytes;
};

describe("golden frames", () => {
  const vectors: readonly { readonly name: string; readonly frame: Frame; readonly bytes: string }[] = [
    {
      name: "ping 0 without payload",
      frame: { type: "ping", sequence: 0n, payload: new Uint8Array(0) },
      bytes: "0000000e 00 08 0000000000000000 5852ca6e",
    },
    {
      name: "request 100 of five bytes",
      frame: { type: "request", sequence: 100n, payload: Uint8Array.of(1, 2, 3, 4, 5) },
      bytes: "00000013 00 03 0000000000000064 0102030405 b9fe0599",
    },
    {
      name: "answer with the largest sequence",
      frame: { type: "answer", sequence: 0xffff_ffff_ffff_ffffn, payload: Uint8Array.of(0xc0) },
      bytes: "0000000f 00 04 ffffffffffffffff c0 d9233095",
    },
  ];

  for (const { name, frame, bytes } of vectors) {
    it(`writes and reads ${name}, byte for byte`, () => {
      expect(hex(encodeFrame(frame, LIMIT))).toBe(bytes.replaceAll(" ", ""));
      expect(decodeFrame(bytesOf(bytes), LIMIT)).toEqual(frame);
    });
  }

  it("keeps the number of every type", () => {
    const numbers = FRAME_TYPES.map(
      (type) => encodeFrame({ type, sequence: 0n, payload: new Uint8Array(0) }, LIMIT)[5],
    );
    expect(FRAME_TYPES.map((type, index) => `${numbers[index]} ${type}`)).toEqual([
      "0 hello",
      "1 authenticate",
      "2 ready",
      "3 request",
      "4 answer",
      "5 failure",
      "6 push",
      "7 cancel",
      "8 ping",
      "9 pong",
      "10 goodbye",
      "11 item",
      "12 credit",
    ]);
  });
});

describe("frame", () => {
  it("comes back as it was sent, with every type and every 64-bit sequence", () => {
    fc.assert(
      fc.property(anyFrame, (frame) => {
        const decoded = decodeFrame(encodeFrame(frame, LIMIT), LIMIT);
        expect(decoded.type).toBe(frame.type);
        expect(decoded.sequence).toBe(frame.sequence);
        expect(Uint8Array.from(decoded.payload)).toEqual(frame.payload);
      }),
      { numRuns: 500 },
    );
  });

  it("is the same when a value is written straight into it, beside others of any size", () => {
    const value = fc.oneof(fc.uint8Array({ maxLength: 300 }), fc.integer(), fc.string());
    const sizes = fc.constantFrom(0, 1, 7, 4_096, 16_000, 16_384, 65_500, 70_000, 300_000);
    fc.assert(
      fc.property(fc.array(fc.tuple(value, sizes), { minLength: 1, maxLength: 40 }), (values) => {
        const made = values.map(([small, size], index) => {
          const sent = [small, Buffer.alloc(size, index)];
          // Others write into the same memory too, and nobody into what was framed before.
          encodeValue(small);
          return { sent, bytes: encodeMessage("push", BigInt(index), sent, LIMIT) };
        });
        for (const [index, { sent, bytes }] of made.entries()) {
          const expected = encodeFrame(
            { type: "push", sequence: BigInt(index), payload: encodeValue(sent) },
            LIMIT,
          );
          expect(Buffer.compare(bytes, expected)).toBe(0);
        }
      }),
    );
  });

  it("detects a change of any single byte after the length, flags and type included", () => {
    fc.assert(
      fc.property(anyFrame, fc.nat(), fc.integer({ min: 1, max: 255 }), (frame, place, difference) => {
        const bytes = encodeFrame(frame, LIMIT);
        const at = 4 + (place % (bytes.length - 4));
        bytes[at] = (bytes[at] as number) ^ difference;
        expect(() => decodeFrame(bytes, LIMIT)).toThrowError(
          expect.objectContaining({ code: "PROTOCOL_CHECKSUM_MISMATCH" }),
        );
      }),
      { numRuns: 500 },
    );
  });

  it("never takes a changed length for a whole frame", () => {
    fc.assert(
      fc.property(anyFrame, fc.nat(3), fc.integer({ min: 1, max: 255 }), (frame, at, difference) => {
        const bytes = encodeFrame(frame, LIMIT);
        bytes[at] = (bytes[at] as number) ^ difference;
        expect(() => decodeFrame(bytes, LIMIT)).toThrow();
      }),
    );
  });

  it("passes a body of exactly the limit both ways and refuses one byte more before sending", () => {
    const limit = { frameMaxBytes: 1_048_576 };
    const room = 1_048_576 - (FRAME_OVERHEAD_BYTES - 4);
    const frame: Frame = { type: "push", sequence: 1n, payload: new Uint8Array(room).fill(7) };
    expect(decodeFrame(encodeFrame(frame, limit), limit).payload.length).toBe(room);
    expect(() => encodeFrame({ ...frame, payload: new Uint8Array(room + 1) }, limit)).toThrowError(
      expect.objectContaining({
        code: "PROTOCOL_FRAME_TOO_LARGE",
        details: { size: 1_048_577, limit: 1_048_576 },
      }),
    );
  });

  it("refuses a length beyond the limit by the length alone", () => {
    expect(() => decodeFrame(bytesOf("7fffffff"), LIMIT)).toThrowError(
      expect.objectContaining({ code: "PROTOCOL_FRAME_TOO_LARGE" }),
    );
  });

  it.each([
    ["length 0", "00000000"],
    ["a length too small for a frame", "0000000d 00 08 0000000000000000 5852ca"],
    ["a frame that is cut short", "0000000e 00 08 0000000000000000 5852ca"],
    ["bytes after the checksum", "0000000e 00 08 0000000000000000 5852ca6e 00"],
    ["three bytes", "000000"],
  ])("refuses %s", (_name, bytes) => {
    expect(() => decodeFrame(bytesOf(bytes), LIMIT)).toThrowError(
      expect.objectContaining({ code: "PROTOCOL_INVALID_FRAME" }),
    );
  });

  it("refuses every unknown flag and every unknown type, also with a right checksum", () => {
    const frame: Frame = { type: "ping", sequence: 0n, payload: new Uint8Array(0) };
    for (let flags = 2; flags < 256; flags += 1) {
      const bytes = encodeFrame(frame, LIMIT);
      bytes[4] = flags;
      expect(() => decodeFrame(sealed(bytes), LIMIT)).toThrowError(
        expect.objectContaining({ code: "PROTOCOL_INVALID_FRAME" }),
      );
    }
    for (let type = FRAME_TYPES.length; type < 256; type += 1) {
      const bytes = encodeFrame(frame, LIMIT);
      bytes[5] = type;
      expect(() => decodeFrame(sealed(bytes), LIMIT)).toThrowError(
        expect.objectContaining({ code: "PROTOCOL_UNKNOWN_TYPE", details: { type } }),
      );
    }
  });
});

describe("compressed frame", () => {
  it("is the same when it is made of a value, and the limits hold for that too", () => {
    for (const value of ["a".repeat(5_000), "short"]) {
      const payload = encodeValue(value);
      const expected = encodeFrame({ type: "push", sequence: 1n, payload }, SQUEEZED);
      expect(hex(encodeMessage("push", 1n, value, SQUEEZED))).toBe(hex(expected));
    }
    const refused = expect.objectContaining({ code: "PROTOCOL_FRAME_TOO_LARGE" });
    for (const options of [{ frameMaxBytes: 100 }, { ...SQUEEZED, frameMaxBytes: 2_000 }])
      expect(() => encodeMessage("push", 1n, "a".repeat(5_000), options)).toThrow(refused);
  });

  const run = (size: number): Frame => ({
    type: "push",
    sequence: 3n,
    payload: new Uint8Array(size).fill(9),
  });

  it("is sent plain at the threshold and compressed one byte above it", () => {
    const atThreshold = encodeFrame(run(COMPRESSION_MIN_BYTES), SQUEEZED);
    const above = encodeFrame(run(COMPRESSION_MIN_BYTES + 1), SQUEEZED);
    expect(atThreshold[4]).toBe(0);
    expect(above[4]).toBe(1);
    expect(above.length).toBeLessThan(64);
    expect(decodeFrame(above, SQUEEZED)).toEqual(run(COMPRESSION_MIN_BYTES + 1));
  });

  it("is sent plain when it would not be smaller", () => {
    const payload = new Uint8Array(5_000).map((_, index) => index);
    const bytes = encodeFrame({ type: "push", sequence: 0n, payload }, SQUEEZED);
    expect(bytes[4]).toBe(0);
    expect(bytes.length).toBe(payload.length + FRAME_OVERHEAD_BYTES);
  });

  it("is never sent, and refused, where no compression was agreed on", () => {
    expect(encodeFrame(run(5_000), LIMIT)[4]).toBe(0);
    expect(() => decodeFrame(encodeFrame(run(5_000), SQUEEZED), LIMIT)).toThrowError(
      expect.objectContaining({ code: "PROTOCOL_UNEXPECTED_FRAME" }),
    );
  });

  it("is refused by the announced original size, before anything is inflated", () => {
    const bytes = encodeFrame(run(5_000), SQUEEZED);
    new DataView(bytes.buffer, bytes.byteOffset).setUint32(14, 0xffff_ffff);
    const spying: Compression = {
      ...runLength,
      decompress: () => {
        throw new Error("must not be asked");
      },
    };
    expect(() =>
      decodeFrame(sealed(bytes), { frameMaxBytes: FRAME_MAX_BYTES, compression: spying }),
    ).toThrowError(expect.objectContaining({ code: "PROTOCOL_FRAME_TOO_LARGE" }));
  });

  it("is refused when it inflates to another size than it announces, or to nothing", () => {
    const bytes = encodeFrame(run(5_000), SQUEEZED);
    const short: Compression = { ...runLength, decompress: () => new Uint8Array(4_999) };
    const broken: Compression = {
      ...runLength,
      decompress: () => {
        throw new Error("bad data");
      },
    };
    for (const compression of [short, broken]) {
      expect(() => decodeFrame(bytes, { frameMaxBytes: FRAME_MAX_BYTES, compression })).toThrowError(
        expect.objectContaining({ code: "PROTOCOL_INVALID_FRAME" }),
      );
    }
  });
});
