import { EventBus } from "@holdfast/coordination";
import Emittery from "emittery";
import eventemitter2 from "eventemitter2";
import type { Bench, BenchResult } from "./measure/bench-result.ts";
import { type Contender, interleaved } from "./measure/interleaved.ts";

const EMITTERY = "emittery@2.2.0";
const EVENTEMITTER2 = "eventemitter2@6.4.9";
const HANDLER_COUNT = 3;
const BURST = 500;

interface Buses {
  readonly ours: EventBus<{ order: { n: number } }>;
  readonly emittery: Emittery<{ order: { n: number } }>;
  readonly eventemitter2: InstanceType<typeof eventemitter2.EventEmitter2>;
  readonly handledCount: () => number;
}

/** What our bus does for every handler, written around a peer's: its failure stays its own, its time is bounded. */
const guarded = (handler: () => unknown) => async (): Promise<void> => {
  let timer: NodeJS.Timeout | undefined;
  try {
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error("late")), 30_000);
    });
    await Promise.race([handler(), late]);
  } catch (error) {
    console.error("a handler failed", error);
  } finally {
    clearTimeout(timer);
  }
};

type Handlers = "plain" | "async" | "guarded";

const makeBuses = (handlers: Handlers): Buses => {
  let handled = 0;
  const handler =
    handlers !== "plain"
      ? async (): Promise<void> => {
          handled += 1;
        }
      : (): void => {
          handled += 1;
        };
  const ours = new EventBus<{ order: { n: number } }>({ capacity: 10_000 });
  const emittery = new Emittery<{ order: { n: number } }>();
  const ee2 = new eventemitter2.EventEmitter2();
  for (let index = 0; index < HANDLER_COUNT; index += 1) {
    // Handlers that are told apart: one function registered three times would be called once by some.
    ours.subscribe("order", () => handler(), { inboxMaxCount: 10_000 });
    emittery.on("order", handlers === "guarded" ? guarded(handler) : () => handler());
    ee2.on("order", handlers === "guarded" ? guarded(handler) : () => handler());
  }
  ours.start();
  return { ours, emittery, eventemitter2: ee2, handledCount: () => handled };
};

/** One event after the other, each waited for until all of its handlers have settled. */
const oneByOne = ({ ours, emittery, eventemitter2: ee2 }: Buses): Record<string, Contender> => ({
  ours: async (count) => {
    for (let n = 0; n < count; n += 1) await ours.deliver("order", { n });
  },
  [EMITTERY]: async (count) => {
    for (let n = 0; n < count; n += 1) await emittery.emit("order", { n });
  },
  [EVENTEMITTER2]: async (count) => {
    for (let n = 0; n < count; n += 1) await ee2.emitAsync("order", { n });
  },
});

/** Many events at once, and then until the last handler has settled. */
const inBursts = ({ ours, emittery, eventemitter2: ee2 }: Buses): Record<string, Contender> => {
  const burst = async (count: number, send: (n: number) => unknown, last: (n: number) => unknown) => {
    for (let n = 0; n < count; n += BURST) {
      const sent: unknown[] = [];
      for (let k = 1; k < BURST; k += 1) sent.push(send(n + k));
      sent.push(last(n));
      await Promise.all(sent);
    }
  };
  return {
    // Events of one priority stay in order, so when the last one is through all are.
    ours: (count) =>
      burst(
        count,
        (n) => ours.publish("order", { n }),
        (n) => ours.deliver("order", { n }),
      ),
    [EMITTERY]: (count) => {
      const emit = (n: number): unknown => emittery.emit("order", { n });
      return burst(count, emit, emit);
    },
    [EVENTEMITTER2]: (count) => {
      const emit = (n: number): unknown => ee2.emitAsync("order", { n });
      return burst(count, emit, emit);
    },
  };
};

const compare = async (
  make: (buses: Buses) => Record<string, Contender>,
  handlers: Handlers,
  notes: string,
): Promise<BenchResult> => {
  const buses = makeBuses(handlers);
  const rounds = 9;
  const count = 20_000;
  const { ours = Number.NaN, ...peers } = await interleaved(make(buses), { count, rounds });
  const expected = (rounds + 1) * count * HANDLER_COUNT * 3;
  if (buses.handledCount() !== expected) {
    throw new Error(`${buses.handledCount()} handlers ran instead of ${expected}`);
  }
  await buses.ours.stop();
  return {
    unit: "events/s",
    ours: Math.round(1e9 / ours),
    peers: Object.fromEntries(Object.entries(peers).map(([name, took]) => [name, Math.round(1e9 / took)])),
    higherIsBetter: true,
    notes:
      `${notes} ${HANDLER_COUNT} handlers for each event. Median of ${rounds} interleaved rounds of ${count}. ` +
      (handlers === "guarded"
        ? "The peers' handlers are wrapped so that their failures are isolated and their time is bounded, as ours " +
          "always are; what the peers still lack are bounded queues, priorities and order per handler."
        : "The peers as they are: a handler that throws rejects the emit, one that hangs is waited for for ever, and " +
          "nothing is bounded."),
  };
};

const ONE_BY_ONE = "One event after the other, each awaited until its async handlers settled.";
const IN_BURSTS = `Bursts of ${BURST}, async handlers, until the last settled.`;

const bench: Bench = {
  name: "event-bus",
  description: "How many events a second reach three handlers each inside one process?",
  nodeMajor: 22,
  run: async () => [
    await compare(oneByOne, "async", ONE_BY_ONE),
    await compare(inBursts, "async", IN_BURSTS),
    await compare(inBursts, "plain", `Bursts of ${BURST}, plain handlers, until the last was called.`),
    await compare(oneByOne, "guarded", ONE_BY_ONE),
    await compare(inBursts, "guarded", IN_BURSTS),
  ],
};

export default bench;
