import { startRedis } from "@holdfast/testkit";
import { Contender, type Kind, pacedP99 } from "./live/contenders.ts";
import type { Bench, BenchResult } from "./measure/bench-result.ts";
import { interleaved } from "./measure/interleaved.ts";

const PEER = "@socket.io/redis-streams-adapter@0.3.1";
const SERVER_COUNT = 2;
const CLIENT_COUNT = 2_000;
const AHEAD = 16;
const EVENTS_PER_ROUND = 48;
const PACE = { perSecond: 10, seconds: 2, rounds: 5 };

const run = async (): Promise<readonly BenchResult[]> => {
  await using server = await startRedis();
  const redis = { url: server.url, serverCount: SERVER_COUNT };
  const contenders: Contender[] = [];
  for (const kind of ["ours", "socket.io"] as const)
    contenders.push(await Contender.start(kind, { clientCount: CLIENT_COUNT, redis }));
  const took = await interleaved(
    Object.fromEntries(
      contenders.map((contender) => [contender.kind, (count: number) => contender.run(count, AHEAD)]),
    ) as Record<Kind, (count: number) => Promise<void>>,
    { count: EVENTS_PER_ROUND, rounds: 7 },
  );
  const perSecond = (kind: Kind): number => Math.round((1e9 / took[kind]) * CLIENT_COUNT);
  const cpu: string[] = [];
  for (const contender of contenders) {
    const before = await contender.cpuMs();
    await contender.run(EVENTS_PER_ROUND, AHEAD);
    const perDelivery = (await contender.cpuMs()) - before;
    const deliveries = (EVENTS_PER_ROUND * CLIENT_COUNT) / SERVER_COUNT;
    cpu.push(`${((perDelivery * 1_000) / deliveries).toFixed(1)} µs (${contender.kind})`);
  }
  const p99 = await pacedP99(contenders, PACE);
  for (const contender of contenders) contender.close();
  const what = `${SERVER_COUNT} servers over one Redis, ${CLIENT_COUNT} clients on one channel, payloads of 200 bytes, published in turn on each server.`;
  return [
    {
      unit: "ms (p99)",
      ours: p99["ours"] ?? Number.NaN,
      peers: { [PEER]: p99["socket.io"] ?? Number.NaN },
      higherIsBetter: false,
      notes: `${what} ${PACE.perSecond} events a second. Median of the p99 of ${PACE.rounds} interleaved rounds of ${PACE.seconds} s.`,
    },
    {
      unit: "deliveries/s",
      ours: perSecond("ours"),
      peers: { [PEER]: perSecond("socket.io") },
      higherIsBetter: true,
      notes:
        `${what} Median of 7 interleaved rounds, ${AHEAD} events on their way at a time. ` +
        `Processor time of a server for one delivery: ${cpu.join(", ")}. Ours numbers each event in ` +
        "Redis and keeps 500 of a channel to recover from; the peer keeps 10,000 of all and recovers nothing as it is set here.",
    },
  ];
};

const bench: Bench = {
  name: "broadcast-redis",
  description: "How many events a second reach the clients of one channel on two servers?",
  run,
};

export default bench;
