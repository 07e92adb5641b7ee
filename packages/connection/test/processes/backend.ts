// One host of a back end, in a process of its own: prints its address as one line and serves until its input ends.

import { systemClock, systemRandom } from "@holdfast/kernel";
import { Bulkhead } from "@holdfast/resilience";
import { createHandlers, serve, tcpTransport } from "../../src/index.ts";
import { control, work } from "../overload/backend-requests.ts";
import { ServiceUnavailableError } from "../overload/service-unavailable-error.ts";

/** Who waits longer gets an answer that comes too late, so the processor does not begin with it. */
const line = new Bulkhead({
  name: "the processor",
  concurrencyMaxCount: 1,
  waiterMaxCount: 20,
  waitMaxMs: 150,
});
let isFailing = false;
let arrivedCount = 0;

const cpuMs = (): number => {
  const { system, user } = process.cpuUsage();
  return (system + user) / 1_000;
};

const burn = (ms: number): void => {
  const endsAt = systemClock.monotonicNow() + ms;
  while (systemClock.monotonicNow() < endsAt);
};

const handlers = createHandlers();
/** Between two pieces of work: lets in what has arrived, and what was cancelled out. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

handlers.onRequest(work, async ({ ms }, context) => {
  arrivedCount += 1;
  if (isFailing) throw new ServiceUnavailableError();
  if (ms > 0) {
    const burnAndBreathe = async (): Promise<void> => {
      burn(ms);
      await turn();
    };
    await line.execute(burnAndBreathe, { signal: context.signal });
  }
  return { host: process.pid };
});
handlers.onRequest(control, async (input) => {
  isFailing = input.isFailing;
  return { arrivedCount, cpuMs: cpuMs() };
});

const server = await serve({
  clock: systemClock,
  random: systemRandom,
  transport: tcpTransport(),
  identity: { nodeId: `host-${process.pid}`, role: "backend" },
  handlers,
  listen: "127.0.0.1:0",
});
console.log(server.address);
process.stdin.resume().on("end", () => process.exit(0));
