import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decodeFrame, encodeFrame, FRAME_MAX_BYTES, type Frame } from "./frame.ts";
import { FrameSplitter } from "./frame-splitter.ts";

const LIMIT = { frameMaxBytes: FRAME_MAX_BYTES };

const push = (sequence: number, size: number): Frame => ({
  type: "push",
  sequence: BigInt(sequence),
  payload: new Uint8Array(size).fill(sequence),
});

const glue = (chunks: readonly Uint8Array[]): Uint8Array => Uint8Array.from(Buffer.concat(chunks));

describe("FrameSplitter", () => {
  it("finds the same frames however the stream is cut", () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(200), { minLength: 1, maxLength: 8 }),
        fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1, maxLength: 60 }),
        (sizes, cuts) => {
          const frames = sizes.map((size, index) => encodeFrame(push(index, size), LIMIT));
          const stream = glue(frames);
          const splitter = new FrameSplitter(LIMIT);
          const seen: string[] = [];
          let at = 0;
          for (let index = 0; at < stream.length; index += 1) {
            const size = cuts[index % cuts.length] as number;
            splitter.push(stream.slice(at, at + size), (frame) =>
              seen.push(Buffer.from(frame).toString("hex")),
            );
            at += size;
          }
          expect(seen).toEqual(frames.map((frame) => Buffer.from(frame).toString("hex")));
          expect(splitter.isEmpty).toBe(true);
        },
      ),
    );
  });

  it("finds a large frame that comes in single bytes, then in one chunk with its neighbours", () => {
    const large = encodeFrame(push(1, 200_000), LIMIT);
    const small = encodeFrame(push(2, 3), LIMIT);
    const splitter = new FrameSplitter(LIMIT);
    const seen: Uint8Array[] = [];
    for (const byte of large) splitter.push(Uint8Array.of(byte), (frame) => seen.push(frame));
    splitter.push(glue([small, large, small]), (frame) => seen.push(frame));
    expect(seen.map((frame) => decodeFrame(frame, LIMIT).payload.length)).toEqual([200_000, 3, 200_000, 3]);
  });

  it("hands out a view, not a copy, of a frame that lies whole in one chunk", () => {
    const chunk = glue([encodeFrame(push(1, 10), LIMIT), encodeFrame(push(2, 10), LIMIT)]);
    const buffers: ArrayBufferLike[] = [];
    new FrameSplitter(LIMIT).push(chunk, (frame) => buffers.push(frame.buffer));
    expect(buffers).toEqual([chunk.buffer, chunk.buffer]);
  });

  it("refuses a length above the limit as soon as the length is there, split or not", () => {
    const whole = new FrameSplitter({ frameMaxBytes: 1_000 });
    expect(() => whole.push(Uint8Array.of(0, 0, 0x10, 0), () => undefined)).toThrowError(
      expect.objectContaining({ code: "PROTOCOL_FRAME_TOO_LARGE" }),
    );
    const split = new FrameSplitter({ frameMaxBytes: 1_000 });
    split.push(Uint8Array.of(0, 0), () => undefined);
    expect(() => split.push(Uint8Array.of(0x10, 0), () => undefined)).toThrowError(
      expect.objectContaining({ code: "PROTOCOL_FRAME_TOO_LARGE" }),
    );
  });

  it("refuses a length that is too small for a frame", () => {
    expect(() => new FrameSplitter(LIMIT).push(new Uint8Array(4), () => undefined)).toThrowError(
      expect.objectContaining({ code: "PROTOCOL_INVALID_FRAME" }),
    );
  });

  it("does not take the memory that a stranger announces", () => {
    const before = process.memoryUsage().arrayBuffers;
    const splitters = Array.from({ length: 50 }, () => {
      const splitter = new FrameSplitter(LIMIT);
      splitter.push(Uint8Array.of(0, 0x7f, 0xff, 0xff, 0, 6), () => undefined);
      return splitter;
    });
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(16 * 1024 * 1024);
    expect(splitters.every((splitter) => !splitter.isEmpty)).toBe(true);
  });
});
