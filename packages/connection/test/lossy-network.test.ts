import { type Clock, type Random, seededRandom } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { expectNoLeaks } from "@holdfast/testkit/vitest";
import { describe, expect, it } from "vitest";
import {
  createHandlers,
  createMemoryNetwork,
  type Link,
  reconnecting,
  serve,
  type Transport,
} from "../src/index.ts";
import { echo, endpoint, note } from "./fixture.ts";

expectNoLeaks();

/** Drops, repeats and delays (so reorders) single frames, as the seed says. */
const lossy = (
  inner: Transport,
  clock: Clock,
  random: Random,
  faults: { readonly dropShare: number },
): Transport => {
  const wrap = (link: Link): Link => ({
    remoteAddress: link.remoteAddress,
    get bufferedBytes() {
      return link.bufferedBytes;
    },
    send(frame) {
      if (random.next() < faults.dropShare) return;
      const copies = random.next() < 0.1 ? 2 : 1;
      for (let copy = 0; copy < copies; copy += 1) clock.schedule(random.next() * 50, () => link.send(frame));
    },
    onDrain: (listener) => link.onDrain(listener),
    onFrame: (listener) => link.onFrame(listener),
    onClose: (listener) => link.onClose(listener),
    close: () => void clock.schedule(60, () => link.close()),
    destroy: (error) => link.destroy(error),
  });
  return {
    kind: "simulated",
    dial: async (address, options) => wrap(await inner.dial(address, options)),
    listen: (address, onLink) => inner.listen(address, (link) => onLink(wrap(link))),
  };
};

/** Runs two hundred requests over a bad network for one seed and returns everything that happened. */
const run = async (seed: number, dropShare: number): Promise<readonly string[]> => {
  const clock = new VirtualClock();
  const random = seededRandom(seed);
  const transport = lossy(createMemoryNetwork({ clock }), clock, random, { dropShare });
  const history: string[] = [];
  const runs = new Map<string, number>();
  const notes = new Map<string, number>();
  const handlers = createHandlers();
  handlers.onRequest(echo, async ({ text }, { peer }) => {
    const key = `${peer.id}/${text}`;
    runs.set(key, (runs.get(key) ?? 0) + 1);
    await clock.sleep(random.next() * 20);
    return { text: `${text}!` };
  });
  handlers.onPush(note, ({ text }, peer) => {
    const key = `${peer.id}/${text}`;
    notes.set(key, (notes.get(key) ?? 0) + 1);
  });
  const server = await serve({ ...endpoint(transport, { clock, handlers }), listen: "a:1" });
  const link = reconnecting({ ...endpoint(transport, { clock }), addresses: ["a:1"] });
  let settledCount = 0;
  const ask = async (index: number): Promise<void> => {
    await clock.sleep(index * 10);
    try {
      const peer = await link.peer();
      peer.push(note, { text: `n${index}` });
      const { text } = await peer.request(echo, { text: `r${index}` }, { timeoutMs: 1_000 });
      expect(text).toBe(`r${index}!`);
      history.push(`${clock.monotonicNow()} r${index} answered`);
    } catch (error) {
      history.push(`${clock.monotonicNow()} r${index} ${(error as { code: string }).code}`);
    } finally {
      settledCount += 1;
    }
  };
  const asked = Array.from({ length: 200 }, (_, index) => ask(index));
  await clock.advanceUntil(() => settledCount === asked.length, 600_000);
  await Promise.all(asked);
  expect(Math.max(...runs.values())).toBe(1);
  expect(Math.max(...notes.values())).toBe(1);
  const closed = Promise.all([link.close(), server.close({ drainMs: 1_000 })]);
  await clock.advance(10_000);
  await closed;
  return history;
};

describe("a connection over a network that drops, repeats and reorders", () => {
  it("runs each request at most once, gives each its own answer, and settles them all", async () => {
    for (let seed = 1; seed <= 10; seed += 1) {
      const history = await run(seed, 0.05);
      expect(history.length).toBe(200);
      const answered = history.filter((line) => line.endsWith("answered")).length;
      expect(answered).toBeGreaterThan(120);
      for (const line of history) expect(line).toMatch(/answered|KERNEL_TIMEOUT|CONNECTION_LOST/);
    }
  });

  it("answers everything when frames are repeated and reordered but none is lost", async () => {
    const history = await run(42, 0);
    expect(history.every((line) => line.endsWith("answered"))).toBe(true);
  });

  it("replays exactly from its seed", async () => {
    expect(await run(7, 0.1)).toEqual(await run(7, 0.1));
  });
});
