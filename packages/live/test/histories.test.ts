import { seededRandom } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BroadcastClient } from "../src/client/index.ts";
import { ClientConnection } from "../src/server/client-connection.ts";
import { MemoryChannelLog } from "../src/server/index.ts";
import type { Outlet } from "../src/server/outlet.ts";
import { ServerCore } from "../src/server/server-core.ts";
import { toSettings } from "../src/server/server-options.ts";
import { FakeSocket } from "../src/testing/fake-socket.ts";

/** The text of a frame that the server made. */
const textOf = (frame: Buffer): readonly string[] => {
  const texts: string[] = [];
  for (let at = 0; at < frame.length; ) {
    const short = frame[at + 1] ?? 0;
    const [header, length] =
      short < 126
        ? [2, short]
        : short === 126
          ? [4, frame.readUInt16BE(at + 2)]
          : [10, Number(frame.readBigUInt64BE(at + 2))];
    texts.push(frame.toString("utf8", at + header, at + header + length));
    at += header + length;
  }
  return texts;
};

/** A socket whose other end is a real server connection; delivery takes time, and may lose, repeat or break. */
class LinkedSocket extends FakeSocket {
  fault: "none" | "lose" | "repeat" = "none";
  #queue: string[] = [];
  readonly #connection: ClientConnection;
  #isOpen = true;

  constructor(url: string, core: ServerCore, clock: VirtualClock) {
    super(url);
    const outlet: Outlet = {
      queuedBytes: 0,
      drained: async () => undefined,
      write: (frame) => {
        for (const text of textOf(frame)) this.#deliver(text, clock);
      },
      close: (reason) => this.break(`server: ${reason}`),
      get isOpen(): boolean {
        return isOpen();
      },
    };
    const isOpen = (): boolean => this.#isOpen;
    this.#connection = new ClientConnection({
      core,
      outlet,
      remoteAddress: undefined,
      pingEngine: () => undefined,
    });
    clock.schedule(1, () => this.#isOpen && this.accept());
  }

  override send(text: string): void {
    if (this.#isOpen) this.#connection.receive(text, text.length);
  }

  override close(): void {
    super.close();
    this.break("client");
  }

  /** The link is gone: what was under way is lost, and both ends hear of it. */
  break(reason: string): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#queue = [];
    this.#connection.onClosed();
    this.finishClose(1006, reason);
  }

  #deliver(text: string, clock: VirtualClock): void {
    const isEvent = text.startsWith('{"channel"');
    if (isEvent && this.fault === "lose") {
      this.fault = "none";
      return;
    }
    this.#queue.push(text);
    if (isEvent && this.fault === "repeat") {
      this.fault = "none";
      this.#queue.push(text);
    }
    clock.schedule(2, () => {
      for (const each of this.#queue.splice(0)) if (this.#isOpen) this.receiveText(each);
    });
  }
}

type Step = "publish" | "burst" | "cut" | "lose" | "repeat" | "wait" | "restart" | "rejoin";

describe("any history of publishing, cuts, losses and repeats", () => {
  it("ends with exactly the published sequence, or with every missing piece behind an announced gap", async () => {
    const step = fc.oneof(
      { weight: 6, arbitrary: fc.constant<Step>("publish") },
      { weight: 2, arbitrary: fc.constantFrom<Step>("burst", "cut", "wait") },
      { weight: 1, arbitrary: fc.constantFrom<Step>("lose", "repeat", "restart", "rejoin") },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), fc.nat(), async (steps, seed) => {
        const clock = new VirtualClock();
        const random = seededRandom(seed);
        let log = new MemoryChannelLog({ clock, random, historyMaxCount: 8 });
        const coreOf = (): ServerCore => new ServerCore(toSettings({ log, origins: [], clock, random }));
        let core = coreOf();
        let socket: LinkedSocket | undefined;
        const client = new BroadcastClient("ws://test", {
          tabs: false,
          reconnectDelay: 5,
          reconnectDelayMax: 40,
          platform: {
            clock,
            random,
            onWake: () => () => undefined,
            openSocket: (url) => {
              socket = new LinkedSocket(url, core, clock);
              return socket;
            },
          },
        });
        /** What the reader knows: numbers as they came, and where a gap was announced. */
        const heard: (number | "gap")[] = [];
        client.onGap(() => heard.push("gap"));
        let leave = client.subscribe("a", ({ payload }) => heard.push(payload["n"] as number));
        client.connect();
        await clock.advance(50);
        let published = 0;
        const publish = (): Promise<unknown> => {
          published += 1;
          return core.publish([{ channel: "a", event: "e", payload: { n: published } }]);
        };
        for (const each of steps) {
          if (each === "publish") await publish();
          else if (each === "burst") for (let count = 0; count < 6; count += 1) await publish();
          else if (each === "cut") socket?.break("cut");
          else if (each === "wait") await clock.advance(Math.floor(random.next() * 60));
          else if (each === "restart") {
            // The server loses its history: a new log, and every connection is gone.
            log = new MemoryChannelLog({ clock, random, historyMaxCount: 8 });
            core = coreOf();
            socket?.break("restart");
          } else if (each === "rejoin") {
            const before = leave;
            leave = client.subscribe("a", ({ payload }) => heard.push(payload["n"] as number));
            before();
            await clock.advance(0);
          } else if (socket !== undefined) socket.fault = each;
        }
        if (socket !== undefined) socket.fault = "none";
        // Whatever was lost last shows with what comes next.
        await clock.advance(500);
        await publish();
        await clock.advance(500);
        expect(client.state).toBe("connected");
        expect(heard.at(-1)).toBe(published);
        let last = 0;
        let isGap = false;
        for (const item of heard) {
          if (item === "gap") {
            isGap = true;
            continue;
          }
          if (isGap) expect(item).toBeGreaterThan(last);
          else expect(item).toBe(last + 1);
          last = item;
          isGap = false;
        }
        client.disconnect();
      }),
      { numRuns: 300 },
    );
  });
});
