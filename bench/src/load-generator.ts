/// <reference path="./peers/autocannon.d.ts" />
import autocannon from "autocannon";
import { type BareServer, type Stall, startBareServer } from "./load/bare-server.ts";
import { runOurLoad } from "./load/our-load.ts";
import type { Bench, BenchResult } from "./measure/bench-result.ts";
import { median } from "./measure/median.ts";

const AUTOCANNON = "autocannon@9.0.0";
const CONNECTIONS = 50;
const ROUNDS = 5;
const ROUND_SECONDS = 3;
/** Far more than anybody reaches, so that the bound on requests in flight decides, as it does for the peer. */
const BEYOND_CAPACITY = 500_000;

interface Speed {
  readonly perSecond: number;
  /** Requests per second of processor time of this process. */
  readonly perCore: number;
}

const timed = async (run: () => Promise<number>): Promise<Speed> => {
  const cpuBefore = process.cpuUsage();
  const startedAt = performance.now();
  const requests = await run();
  const seconds = (performance.now() - startedAt) / 1_000;
  const { user, system } = process.cpuUsage(cpuBefore);
  return { perSecond: requests / seconds, perCore: requests / ((user + system) / 1e6) };
};

const ourRound = (server: BareServer): Promise<Speed> =>
  timed(async () => {
    const { requests, errors, latency } = await runOurLoad({
      url: server.url,
      ratePerSecond: BEYOND_CAPACITY,
      inFlightMax: CONNECTIONS,
      durationMs: ROUND_SECONDS * 1_000,
    });
    if (errors > 0 || latency.count !== requests)
      throw new Error(`${errors} errors, ${latency.count} samples`);
    return requests;
  });

const peerRound = (server: BareServer): Promise<Speed> =>
  timed(async () => {
    const { requests, errors } = await autocannon({
      url: server.url,
      connections: CONNECTIONS,
      duration: ROUND_SECONDS,
    });
    if (errors > 0) throw new Error(`autocannon saw ${errors} errors`);
    return requests.total;
  });

const speed = async (): Promise<readonly [BenchResult, BenchResult]> => {
  const server = await startBareServer();
  const ours: Speed[] = [];
  const theirs: Speed[] = [];
  try {
    for (let round = -1; round < ROUNDS; round += 1) {
      const pair = [await ourRound(server), await peerRound(server)] as const;
      if (round < 0) continue;
      ours.push(pair[0]);
      theirs.push(pair[1]);
    }
  } finally {
    await server.stop();
  }
  const result = (unit: string, figure: keyof Speed, notes: string): BenchResult => ({
    unit,
    ours: Math.round(median(ours.map((round) => round[figure]))),
    peers: { [AUTOCANNON]: Math.round(median(theirs.map((round) => round[figure]))) },
    higherIsBetter: true,
    notes,
  });
  const how =
    `Median of ${ROUNDS} interleaved rounds of ${ROUND_SECONDS} s, ${CONNECTIONS} connections, a bare node:http server in a ` +
    "process of its own. Ours: open model beyond capacity, every sample recorded in a mergeable histogram and reported " +
    "four times a second as a worker does. Peer: closed loop.";
  return [
    result("requests/s", "perSecond", `${how} The server is the slower side here.`),
    result("requests/s per core of the generator", "perCore", how),
  ];
};

const STALL = { stallAfterMs: 3_000, stallMs: 1_000 };
const STALL_RATE = 200;
const STALL_SECONDS = 10;
const STALL_ROUNDS = 3;
/** A perfect answer would make the ratio infinite. */
const ERROR_FLOOR_PERCENT = 0.01;

/** The latency that a request planned at each instant of the constant rate must have met. */
const trueP999 = (stall: Stall, startedAt: number): number => {
  const plannedCount = STALL_RATE * STALL_SECONDS;
  const latencies = Array.from({ length: plannedCount }, (_, index) => {
    const plannedAt = startedAt + (index * 1_000) / STALL_RATE;
    return plannedAt >= stall.beganAt && plannedAt < stall.endedAt ? stall.endedAt - plannedAt : 0;
  });
  return latencies.sort((a, b) => a - b)[Math.ceil(plannedCount * 0.999) - 1] ?? Number.NaN;
};

const errorPercent = (measured: number, truth: number): number =>
  Math.max(ERROR_FLOOR_PERCENT, Number(((Math.abs(measured - truth) / truth) * 100).toFixed(2)));

const withStallingServer = async <T>(body: (server: BareServer) => Promise<T>): Promise<T> => {
  const server = await startBareServer(STALL);
  try {
    return await body(server);
  } finally {
    await server.stop();
  }
};

const truthfulness = async (): Promise<BenchResult> => {
  const our = (): Promise<number> =>
    withStallingServer(async (server) => {
      const { latency, startedAt } = await runOurLoad({
        url: server.url,
        ratePerSecond: STALL_RATE,
        inFlightMax: 2 * STALL_RATE,
        durationMs: STALL_SECONDS * 1_000,
      });
      return errorPercent(latency.p999, trueP999(await server.stall, startedAt));
    });
  const peer = (overallRate: number | undefined): Promise<number> =>
    withStallingServer(async (server) => {
      const { latency, start } = await autocannon({
        url: server.url,
        connections: CONNECTIONS,
        duration: STALL_SECONDS,
        ...(overallRate === undefined ? {} : { overallRate }),
      });
      return errorPercent(latency.p99_9, trueP999(await server.stall, start.getTime()));
    });
  const ours: number[] = [];
  const paced: number[] = [];
  for (let round = 0; round < STALL_ROUNDS; round += 1) {
    ours.push(await our());
    paced.push(await peer(STALL_RATE));
  }
  return {
    unit: "% error of p99.9",
    ours: median(ours),
    peers: {
      [`${AUTOCANNON} (overallRate)`]: median(paced),
      [`${AUTOCANNON} (closed loop)`]: await peer(undefined),
    },
    higherIsBetter: false,
    notes:
      `The server stands still for ${STALL.stallMs} ms within ${STALL_SECONDS} s. Truth: what requests at a constant ` +
      `${STALL_RATE}/s met, worked out from the server's own account of the stall. Median of ${STALL_ROUNDS} runs (closed ` +
      "loop: one). The peer sends each second's requests at its beginning, so its error depends on where the stall falls: " +
      `here ${paced.join(", ")} %.`,
  };
};

const bench: Bench = {
  name: "load-generator",
  description: "How fast is a load test, and does it tell the truth about a server that stands still?",
  run: async () => {
    const truth = await truthfulness();
    const [perSecond, perCore] = await speed();
    return [truth, perSecond, perCore];
  },
};

export default bench;
