import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import { systemClock } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import { SocketLink } from "./socket-link.ts";

const setUp = () => {
  const writes: string[] = [];
  const socket = new Duplex({
    read: () => undefined,
    write: (chunk: Buffer, _encoding, done) => {
      writes.push(chunk.toString());
      done();
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
});
