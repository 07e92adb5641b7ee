import { seededRandom, systemClock } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { encodeFrame, encodeValue } from "@holdfast/protocol";
import { defineStream } from "@holdfast/protocol/contract";
import { expectNoLeaks } from "@holdfast/testkit/vitest";
import { describe, expect, it, vi } from "vitest";
import { z } from "zod";
import {
  createHandlers,
  createMemoryNetwork,
  type Peer,
  type StreamOptions,
  type Transport,
  tcpTransport,
  tlsTransport,
} from "../src/index.ts";
import { certificates } from "./certificates.ts";
import { capturing, echo, pair } from "./fixture.ts";

expectNoLeaks();

const rows = defineStream({
  name: "test.rows",
  scope: "read",
  priority: "normal",
  idempotent: true,
  input: z.object({ count: z.number(), bytes: z.number().default(10), failAt: z.number().optional() }),
  item: z.object({ number: z.number(), text: z.string() }),
});

const TRANSPORTS: readonly { readonly name: string; readonly create: () => Transport }[] = [
  { name: "memory", create: () => createMemoryNetwork({ clock: systemClock }) },
  { name: "tcp", create: () => tcpTransport() },
  {
    name: "tls",
    create: () => tlsTransport({ ...certificates.server, authorities: certificates.authority }),
  },
];

/** A server that streams rows, and what its source did. */
const setup = async (transport: Transport = tcpTransport(), limits: { sendBufferMaxBytes?: number } = {}) => {
  const source = { madeCount: 0, endedCount: 0, abortedCount: 0, pauseAt: Number.POSITIVE_INFINITY };
  const handlers = createHandlers();
  handlers.onRequest(echo, async ({ text }) => ({ text }));
  handlers.onStream(rows, async function* ({ bytes, count, failAt }, { signal }) {
    signal.addEventListener("abort", () => {
      source.abortedCount += 1;
    });
    try {
      for (let number = 0; number < count; number += 1) {
        if (number === failAt) throw new Error("the table is gone");
        if (number === source.pauseAt) await systemClock.sleep(60_000, { signal });
        source.madeCount += 1;
        yield { number, text: "x".repeat(bytes) };
      }
    } finally {
      source.endedCount += 1;
    }
  });
  const both = await pair(transport, { server: { handlers, ...limits } });
  return {
    ...both,
    source,
    rows: (count: number, options?: StreamOptions & { bytes?: number; failAt?: number }) =>
      both.client.stream(
        rows,
        {
          count,
          bytes: options?.bytes ?? 10,
          ...(options?.failAt === undefined ? {} : { failAt: options.failAt }),
        },
        options,
      ),
  };
};

const numbersOf = async (items: AsyncIterable<{ readonly number: number }>): Promise<readonly number[]> => {
  const numbers: number[] = [];
  for await (const { number } of items) numbers.push(number);
  return numbers;
};

const upTo = (count: number): readonly number[] => Array.from({ length: count }, (_, index) => index);

describe.each(TRANSPORTS)("a stream over $name", ({ create }) => {
  it("gives exactly the items that were sent, in order, and then ends", async () => {
    await using both = await setup(create());
    for (const count of [0, 1, 2, 1_000]) expect(await numbersOf(both.rows(count))).toEqual(upTo(count));
    expect(both.source.endedCount).toBe(4);
    const ended = both.rows(1);
    expect(await ended.next()).toMatchObject({ done: false, value: { number: 0 } });
    expect(await ended.next()).toEqual({ done: true, value: undefined });
    expect(await ended.next()).toEqual({ done: true, value: undefined });
  });

  it("holds its source back when it is not read, and loses nothing", async () => {
    await using both = await setup(create());
    const stream = both.rows(300, { bytes: 1_000, windowBytes: 16 * 1024 });
    await vi.waitFor(() => expect(both.source.madeCount).toBeGreaterThan(14));
    // Other requests on the connection are not held back, and by their time the source would have gone on.
    for (let index = 0; index < 50; index += 1) await both.client.request(echo, { text: "x" });
    expect(both.source.madeCount).toBeLessThan(20);
    let readCount = 0;
    let aheadMax = 0;
    for await (const { number } of stream) {
      expect(number).toBe(readCount);
      readCount += 1;
      aheadMax = Math.max(aheadMax, both.source.madeCount - readCount);
    }
    expect(readCount).toBe(300);
    expect(aheadMax).toBeLessThan(20);
  });

  it("ends its source when its reader leaves, and the connection serves on", async () => {
    await using both = await setup(create());
    for await (const { number } of both.rows(1_000_000, { bytes: 1_000, windowBytes: 4_096 })) {
      if (number === 10) break;
    }
    await vi.waitFor(() => expect(both.source).toMatchObject({ endedCount: 1, abortedCount: 1 }));
    expect(both.source.madeCount).toBeLessThan(30);
    expect(await both.client.request(echo, { text: "still here" })).toEqual({ text: "still here" });
    expect(await numbersOf(both.rows(3))).toEqual([0, 1, 2]);
  });

  it("ends at once on abort, with the reason", async () => {
    await using both = await setup(create());
    const controller = new AbortController();
    const stream = both.rows(1_000, { bytes: 1_000, windowBytes: 4_096, signal: controller.signal });
    await stream.next();
    const reason = new Error("not needed");
    controller.abort(reason);
    await expect(stream.next()).rejects.toBe(reason);
    expect(await stream.next()).toEqual({ done: true, value: undefined });
    await vi.waitFor(() => expect(both.source.endedCount).toBe(1));
    await expect(both.rows(1, { signal: controller.signal }).next()).rejects.toBe(reason);
  });

  it("gives what came before a failure, then the failure", async () => {
    await using both = await setup(create());
    const seen: number[] = [];
    const reading = (async () => {
      for await (const { number } of both.rows(10, { failAt: 4 })) seen.push(number);
    })();
    await expect(reading).rejects.toMatchObject({ code: "KERNEL_INTERNAL" });
    expect(seen).toEqual([0, 1, 2, 3]);
  });

  it("fails when the connection breaks, and its source is ended", async () => {
    await using both = await setup(create());
    both.source.pauseAt = 3;
    const stream = both.rows(10);
    for (let index = 0; index < 3; index += 1) await stream.next();
    const next = expect(stream.next()).rejects.toMatchObject({ code: "CONNECTION_LOST", retryable: true });
    await vi.waitFor(() => expect(both.accepted.length).toBe(1));
    await both.server.close({ drainMs: 0 });
    await next;
    await vi.waitFor(() => expect(both.source.endedCount).toBe(1));
  });

  it("fails when the next item is late, and only then", async () => {
    await using both = await setup(create());
    both.source.pauseAt = 1;
    const stream = both.rows(2, { timeoutMs: 25 });
    expect(await stream.next()).toMatchObject({ value: { number: 0 } });
    // Not reading is no reason for a time-out.
    await systemClock.sleep(40);
    await expect(stream.next()).rejects.toMatchObject({ code: "KERNEL_TIMEOUT", timeoutMs: 25 });
    await vi.waitFor(() => expect(both.source.endedCount).toBe(1));
  });
});

describe("a stream", () => {
  it("serves readers that ask for several items at once in their order", async () => {
    await using both = await setup();
    const stream = both.rows(3);
    const results = await Promise.all(Array.from({ length: 5 }, () => stream.next()));
    expect(results.map(({ done, value }) => (done ? "end" : value.number))).toEqual([0, 1, 2, "end", "end"]);
  });

  it("takes one window of memory however long it is and however slow its reader", async () => {
    await using both = await setup();
    let buffersMax = 0;
    let readCount = 0;
    for await (const _ of both.rows(1_500, { bytes: 16_000, windowBytes: 64 * 1024 })) {
      readCount += 1;
      if (readCount % 100 === 0) {
        await systemClock.sleep(0);
        buffersMax = Math.max(buffersMax, both.client.bufferedBytes, both.accepted[0]?.bufferedBytes ?? 0);
      }
    }
    expect(readCount).toBe(1_500);
    // 24 MB went through.
    expect(both.client.traffic.bytesIn).toBeGreaterThan(24_000_000);
    expect(buffersMax).toBeLessThan(128 * 1024);
  });

  it("waits with others for room on a connection whose reader does not read", async () => {
    await using both = await setup(tcpTransport(), { sendBufferMaxBytes: 64 * 1024 });
    const streams = Array.from({ length: 20 }, () =>
      both.rows(100, { bytes: 4_000, windowBytes: 1_048_576 }),
    );
    const read = await Promise.all(streams.map(numbersOf));
    expect(read.every((numbers) => numbers.length === 100)).toBe(true);
  });

  it("refuses an item that does not fit, and the connection serves on", async () => {
    const handlers = createHandlers();
    handlers.onRequest(echo, async ({ text }) => ({ text }));
    handlers.onStream(rows, async function* () {
      yield { number: 1, text: "good" };
      yield { number: "two", text: "bad" } as never;
    });
    await using both = await pair(tcpTransport(), { server: { handlers } });
    const stream = both.client.stream(rows, { count: 2 });
    expect(await stream.next()).toMatchObject({ value: { number: 1 } });
    await expect(stream.next()).rejects.toMatchObject({ code: "PROTOCOL_INVALID_MESSAGE" });
    expect(await both.client.request(echo, { text: "x" })).toEqual({ text: "x" });
  });

  it("is refused where nobody streams it, where input is wrong, and by a side that cannot stream", async () => {
    await using both = await setup();
    const unknown = defineStream({ ...rows, name: "test.unknown" });
    await expect(both.client.stream(unknown, { count: 1 }).next()).rejects.toMatchObject({
      code: "PROTOCOL_UNKNOWN_MESSAGE",
    });
    await expect(both.client.stream(rows, { count: "x" } as never).next()).rejects.toMatchObject({
      code: "PROTOCOL_INVALID_MESSAGE",
    });
    await expect(both.rows(1, { windowBytes: 10 }).next()).rejects.toMatchObject({
      code: "KERNEL_INVALID_INPUT",
      field: "windowBytes",
    });
    Object.defineProperty(both.client.remote, "features", { value: ["heartbeat"] });
    await expect(both.rows(1).next()).rejects.toMatchObject({ code: "CONNECTION_UNSUPPORTED_FEATURE" });
  });

  it("gives each item once and in order where the network repeats and reorders frames", async () => {
    for (let seed = 1; seed <= 8; seed += 1) {
      const clock = new VirtualClock();
      const random = seededRandom(seed);
      const network = createMemoryNetwork({ clock });
      const unruly: Transport = {
        kind: "simulated",
        dial: (address, options) => network.dial(address, options),
        listen: (address, onLink) =>
          network.listen(address, (link) => {
            const send = link.send.bind(link);
            link.send = (frame) => {
              for (let copies = random.next() < 0.2 ? 2 : 1; copies > 0; copies -= 1)
                clock.schedule(random.next() * 30, () => send(frame));
            };
            onLink(link);
          }),
      };
      const handlers = createHandlers();
      handlers.onStream(rows, async function* ({ count }) {
        for (let number = 0; number < count; number += 1) yield { number, text: "x".repeat(100) };
      });
      let numbers: readonly number[] | undefined;
      const both = pair(unruly, { clock, server: { handlers } });
      const read = both.then(async ({ client }) => {
        numbers = await numbersOf(client.stream(rows, { count: 200 }, { windowBytes: 2_048 }));
      });
      await clock.advanceUntil(() => numbers !== undefined, 60_000);
      await read;
      expect(numbers).toEqual(upTo(200));
      const { client, server } = await both;
      client.close().catch(() => undefined);
      server.close({ drainMs: 0 }).catch(() => undefined);
      await clock.advance(10_000);
    }
  });

  it("keeps its connection when the network repeats an item that filled the window", async () => {
    const both = await setup();
    both.source.pauseAt = 0;
    const stream = both.rows(5, { windowBytes: 1_024 });
    const receive = (index: number): void =>
      (both.client as unknown as { receive(bytes: Uint8Array): void }).receive(
        encodeFrame(
          {
            type: "item",
            sequence: 0n,
            payload: encodeValue([index, { number: index, text: "x".repeat(200) }]),
          },
          { frameMaxBytes: 1 << 20 },
        ),
      );
    for (const index of [0, 1, 2, 3, 4, 4, 0]) receive(index);
    expect(both.client.isOpen).toBe(true);
    for (let index = 0; index < 5; index += 1)
      expect(await stream.next()).toMatchObject({ value: { number: index } });
    await stream.return?.();
    await both[Symbol.asyncDispose]();
  });

  it("loses its connection when it sends beyond the window, or more than it says", async () => {
    for (const cheat of ["window", "count"] as const) {
      const { links, transport } = capturing(tcpTransport());
      const both = await setup(transport);
      both.source.pauseAt = 0;
      const stream = both.rows(5, { windowBytes: 1_024 });
      const next = stream.next();
      // As if it came from the other side: the reader's link is handed forged frames.
      const receive = (type: "item" | "answer", value: unknown): void =>
        (both.client as unknown as { receive(bytes: Uint8Array): void }).receive(
          encodeFrame({ type, sequence: 0n, payload: encodeValue(value) }, { frameMaxBytes: 1 << 20 }),
        );
      if (cheat === "window") {
        for (let index = 1; index < 20; index += 1)
          receive("item", [index, { number: index, text: "x".repeat(200) }]);
      } else {
        receive("item", [0, { number: 0, text: "" }]);
        receive("item", [1, { number: 1, text: "" }]);
        receive("answer", { count: 1 });
      }
      const isLost = (error: unknown) => expect(error).toMatchObject({ code: "CONNECTION_LOST" });
      await next.then(() => stream.next().then(() => stream.next().catch(isLost), isLost), isLost);
      expect(both.client.isOpen).toBe(false);
      expect(links.length).toBe(1);
      await both[Symbol.asyncDispose]();
    }
  });

  it.each<[string, unknown]>([
    ["NaN", Number.NaN],
    ["a negative number", -1],
    ["a fraction", 0.5],
    ["infinity", Number.POSITIVE_INFINITY],
    ["more than was sent", 1e15],
    ["more than a number holds", 2n ** 63n],
    ["a text", "1"],
    ["nothing", null],
  ])("loses its connection, and no other, when its reader gives %s as what was read", async (_, readBytes) => {
    await using both = await setup();
    await using other = await pair(tcpTransport());
    const stream = both.rows(100, { bytes: 1_000, windowBytes: 4_096 });
    expect(await stream.next()).toMatchObject({ value: { number: 0 } });
    const accepted = both.accepted[0] as Peer & { receive(bytes: Uint8Array): void };
    const errors: (Error | undefined)[] = [];
    accepted.onClose((error) => errors.push(error));
    // As if it came from the other side.
    const payload = encodeValue(readBytes);
    accepted.receive(encodeFrame({ type: "credit", sequence: 0n, payload }, { frameMaxBytes: 1 << 20 }));
    expect(errors).toEqual([
      expect.objectContaining({ code: "PROTOCOL_UNEXPECTED_FRAME", retryable: false }),
    ]);
    await vi.waitFor(() => expect(both.source).toMatchObject({ endedCount: 1, abortedCount: 1 }));
    expect(await other.client.request(echo, { text: "x" })).toEqual({ text: "x" });
  });
});
