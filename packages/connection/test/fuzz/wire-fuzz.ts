import { isHoldfastError, type Random, randomInt, seededRandom, systemClock } from "@holdfast/kernel";
import {
  decodeFrame,
  decodeValue,
  encodeFrame,
  encodeValue,
  FRAME_TYPES,
  FrameSplitter,
  type FrameType,
  PROTOCOL_VERSION,
} from "@holdfast/protocol";
import { defineStream } from "@holdfast/protocol/contract";
import { z } from "zod";
import {
  connect,
  createMemoryNetwork,
  type Link,
  type Listener,
  serve,
  type Transport,
} from "../../src/index.ts";
import { deflate } from "../../src/link/deflate.ts";
import { echo, endpoint, recordingHandlers } from "../fixture.ts";
import { mutate, seal } from "./mutations.ts";

export interface FuzzOptions {
  readonly seed: number;
  /** Stops after so many cases ... */
  readonly caseCount?: number;
  /** ... or so many seconds, whichever comes first. */
  readonly seconds?: number;
}

export interface FuzzReport {
  readonly seed: number;
  readonly seconds: number;
  readonly cases: number;
  readonly frames: number;
  /** Cases that ended in a typed error. */
  readonly refused: number;
  /** Most processor time of one case. */
  readonly slowestMs: number;
  /** Most memory in buffers at any look, MiB. */
  readonly buffersMaxMiB: number;
}

const rows = defineStream({
  name: "test.rows",
  scope: "read",
  priority: "normal",
  idempotent: true,
  input: z.object({ count: z.number() }),
  item: z.object({ number: z.number(), text: z.string() }),
});

const OPTIONS = { frameMaxBytes: 256 * 1024, compression: deflate };
/** Processor time; a case this slow counts as a hang, the slowest honest one takes a few milliseconds. */
const HANG_MS = 2_000;
const BUFFERS_MAX_MIB = 256;
const LOOK_EVERY_COUNT = 500;
const TRUST_EVERY_COUNT = 4;

const VALUES: readonly unknown[] = [
  ["test.echo", 1_000, { text: "hello", repeat: 3 }],
  ["test.rows", 1_000, { count: 40 }, 2_048],
  [0, { number: 0, text: "x".repeat(200) }],
  [1, { number: 1, text: "" }],
  { count: 2 },
  4_096,
  ["test.note", { text: "x".repeat(3_000) }],
  { version: "1.4", features: ["deflate", "heartbeat"], nodeId: "n", role: "r", address: "a:1" },
  { token: "secret" },
  { scopes: ["read", "operate"] },
  {
    code: "X",
    message: "y",
    retryable: true,
    details: { a: [1, 2n ** 60n, null, undefined, new Date(5), 1.5] },
  },
  [[[[[[[[{ deep: [[[{}]]] }]]]]]]]],
  Array.from({ length: 300 }, (_, index) => index * 1_000_003),
];

/** A frame as an honest node might send it. */
const honest = (random: Random): Uint8Array => {
  const type = FRAME_TYPES[randomInt(random, FRAME_TYPES.length)] as FrameType;
  const payload = encodeValue(VALUES[randomInt(random, VALUES.length)]);
  const sequence = BigInt(randomInt(random, 6));
  return encodeFrame(
    { type, sequence, payload },
    random.next() < 0.3 ? OPTIONS : { frameMaxBytes: OPTIONS.frameMaxBytes },
  );
};

const hostile = (random: Random): Uint8Array => {
  const changed = mutate(honest(random), random);
  return random.next() < 0.7 ? seal(changed) : changed;
};

/** Reads a stream of honest and hostile frames, cut anywhere. Returns how many frames were read, and whether it was refused. */
const readStream = (random: Random): { readonly frames: number; readonly isRefused: boolean } => {
  const parts = Array.from({ length: 1 + randomInt(random, 4) }, () =>
    random.next() < 0.4 ? honest(random) : hostile(random),
  );
  const stream = Uint8Array.from(Buffer.concat(parts));
  const splitter = new FrameSplitter(OPTIONS);
  let frames = 0;
  try {
    for (let start = 0; start < stream.length; ) {
      const size = 1 + randomInt(random, random.next() < 0.3 ? 4 : stream.length);
      splitter.push(stream.slice(start, start + size), (bytes) => {
        decodeValue(decodeFrame(bytes, OPTIONS).payload);
        frames += 1;
      });
      start += size;
    }
    return { frames, isRefused: false };
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
    return { frames, isRefused: true };
  }
};

/** Dials a server and sends it honest and hostile frames in a row. */
const attack = async (transport: Transport, address: string, random: Random): Promise<void> => {
  const link: Link = await transport.dial(address);
  link.onFrame(() => undefined);
  link.onClose(() => undefined);
  const step = (type: FrameType, sequence: bigint, value: unknown): Uint8Array =>
    encodeFrame({ type, sequence, payload: encodeValue(value) }, OPTIONS);
  if (random.next() < 0.8) {
    link.send(step("hello", 0n, { version: PROTOCOL_VERSION, features: ["deflate", "streaming"] }));
    link.send(step("authenticate", 1n, {}));
  }
  for (let count = 1 + randomInt(random, 6); count > 0; count -= 1) {
    link.send(random.next() < 0.3 ? honest(random) : hostile(random));
  }
  for (let turn = 0; turn < 8; turn += 1) await Promise.resolve();
  link.destroy();
};

/** A server that greets honestly, and answers what it is asked by honest and hostile frames. */
const listenHostile = (transport: Transport, random: Random): Promise<Listener> =>
  transport.listen("hostile:1", (link) => {
    link.onClose(() => undefined);
    link.onFrame((bytes) => {
      const { sequence, type } = decodeFrame(bytes, OPTIONS);
      const answer = (kind: FrameType, value: unknown): void =>
        link.send(encodeFrame({ type: kind, sequence, payload: encodeValue(value) }, OPTIONS));
      if (type === "hello") answer("hello", { version: PROTOCOL_VERSION, features: ["streaming"] });
      else if (type === "authenticate") answer("ready", { scopes: ["read"] });
      else if (type === "request") {
        for (let count = 1 + randomInt(random, 8); count > 0; count -= 1)
          link.send(random.next() < 0.5 ? honest(random) : hostile(random));
        link.close();
      }
    });
  });

/** Reads a stream, and asks something else beside it, of a hostile server. */
const trust = async (transport: Transport, address: string): Promise<void> => {
  const peer = await connect({ ...endpoint(transport), address });
  const reading = async (): Promise<void> => {
    for await (const _ of peer.stream(rows, { count: 40 }, { windowBytes: 2_048 }));
  };
  const ends = await Promise.allSettled([reading(), peer.request(echo, { text: "x" })]);
  for (const end of ends) if (end.status === "rejected" && !isHoldfastError(end.reason)) throw end.reason;
  await peer.close();
};

/**
 * Throws bytes at the readers of frames and at a whole server until the limit is reached.
 * @throws Error when something other than a typed error comes out, a case hangs, or memory grows beyond the limit.
 */
export const fuzz = async (options: FuzzOptions): Promise<FuzzReport> => {
  const random = seededRandom(options.seed);
  const transport = createMemoryNetwork({ clock: systemClock });
  const { handlers } = recordingHandlers();
  handlers.onStream(rows, async function* ({ count }) {
    for (let number = 0; number < count; number += 1) yield { number, text: "x".repeat(100) };
  });
  await using hostileServer = await listenHostile(transport, random);
  const server = await serve({
    ...endpoint(transport, { handlers }),
    listen: "fuzz:1",
    compression: true,
    frameMaxBytes: OPTIONS.frameMaxBytes,
  });
  const startedAt = performance.now();
  const seconds = (): number => (performance.now() - startedAt) / 1_000;
  const report = { cases: 0, frames: 0, refused: 0, slowestMs: 0, buffersMaxMiB: 0 };
  const isOver = (): boolean =>
    report.cases >= (options.caseCount ?? Number.POSITIVE_INFINITY) ||
    seconds() >= (options.seconds ?? Number.POSITIVE_INFINITY);
  while (!isOver()) {
    const caseAt = process.cpuUsage();
    const { frames, isRefused } = readStream(random);
    await attack(transport, server.address, random);
    if (report.cases % TRUST_EVERY_COUNT === 0) await trust(transport, hostileServer.address);
    report.cases += 1;
    report.frames += frames;
    if (isRefused) report.refused += 1;
    const { system, user } = process.cpuUsage(caseAt);
    report.slowestMs = Math.max(report.slowestMs, (system + user) / 1_000);
    if (report.slowestMs > HANG_MS)
      throw new Error(`case ${report.cases} of seed ${options.seed} took ${report.slowestMs} ms`);
    if (report.cases % LOOK_EVERY_COUNT > 0) continue;
    report.buffersMaxMiB = Math.max(report.buffersMaxMiB, process.memoryUsage().arrayBuffers / 1024 / 1024);
    if (report.buffersMaxMiB > BUFFERS_MAX_MIB)
      throw new Error(`buffers grew to ${report.buffersMaxMiB} MiB`);
    const peer = await connect({ ...endpoint(transport), address: server.address });
    const answer = await peer.request(echo, { text: "alive" });
    if (answer.text !== "alive") throw new Error("the server answers wrongly");
    await peer.close();
    // A turn of the event loop, so that timers and collections get their chance.
    await systemClock.sleep(0);
  }
  await server.close({ drainMs: 0 });
  return { seed: options.seed, seconds: Math.round(seconds()), ...report };
};
