import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import { systemClock } from "@holdfast/kernel";
import { encodeMessage } from "@holdfast/protocol";
import { describe, expect, it } from "vitest";
import { SocketLink } from "./socket-link.ts";

const setUp = ({ isHeldBack = () => false }: { readonly isHeldBack?: () => boolean } = {}) => {
  const writes: string[] = [];
  const socket = new Duplex({
    read: () => undefined,
    write: (chunk: Buffer, _encoding, done) => {
      writes.push(chunk.toString());
      if (!isHeldBack()) done();
    },
  });
  const link = new SocketLink(socket as Socket, { clock: systemClock, remoteAddress: "test:1" });
  const turn = async (frames: string, isAlone = true): Promise<readonly string[]> => {
    writes.length = 0;
    for (const frame of frames) link.send(Buffer.from(frame), isAlone);
    const atOnce = writes.join("");
    await new Promise(setImmediate);
    return [atOnce, ...writes];
  };
  const quietTurns = async (): Promise<void> => {
    for (let index = 0; index < 8; index += 1) expect(await turn("q")).toEqual(["", "q"]);
  };
  return { link, turn, quietTurns, [Symbol.dispose]: () => socket.destroy() };
};

describe("a link over a socket", () => {
  it("writes the frames of one turn together", async () => {
    using fixture = setUp();
    expect(await fixture.turn("abc")).toEqual(["", "abc"]);
  });

  it("writes a frame that is alone at once after turns of one frame each, and says that it is gone", async () => {
    using fixture = setUp();
    await fixture.quietTurns();
    let drained = 0;
    fixture.link.onDrain(() => {
      drained += 1;
    });
    expect(await fixture.turn("a")).toEqual(["a", "a"]);
    expect(await fixture.turn("b")).toEqual(["b", "b"]);
    expect(drained).toBe(2);
    expect(fixture.link.bufferedBytes).toBe(0);
  });

  it("lets a frame wait for company while others are open", async () => {
    using fixture = setUp();
    await fixture.quietTurns();
    expect(await fixture.turn("a", false)).toEqual(["", "a"]);
  });

  it("writes together what follows a frame in its turn, in order, and waits again in the turns after it", async () => {
    using fixture = setUp();
    await fixture.quietTurns();
    expect(await fixture.turn("abc")).toEqual(["a", "a", "bc"]);
    expect(await fixture.turn("def")).toEqual(["", "def"]);
    expect(await fixture.turn("g")).toEqual(["", "g"]);
  });

  it("gives the memory of a frame back when it was written, and not while it is held back", async () => {
    let isHeldBack = false;
    using fixture = setUp({ isHeldBack: () => isHeldBack });
    await fixture.quietTurns();
    const message = (text: string): Uint8Array =>
      encodeMessage("push", 0n, text.repeat(1_000), { frameMaxBytes: 65_536 });
    const send = async (frame: Uint8Array): Promise<number> => {
      fixture.link.send(frame, true);
      await new Promise(setImmediate);
      return frame.byteOffset;
    };
    // Nothing else has its memory once what others wrote to is used up, and that may have grown to 256 KiB.
    const places = [];
    for (let index = 0; index < 400; index += 1) places.push(await send(message("a")));
    expect(new Set(places.slice(-10)).size).toBe(1);
    isHeldBack = true;
    const held = message("b");
    const copy = Uint8Array.from(held);
    await send(held);
    for (let index = 0; index < 100; index += 1) await send(message("c"));
    expect(Buffer.compare(held, copy)).toBe(0);
  });
});
