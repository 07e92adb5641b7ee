import { Contender, type Kind, pacedP99 } from "./live/contenders.ts";
import type { Bench, BenchResult } from "./measure/bench-result.ts";
import { splitCores } from "./measure/core-split.ts";
import { interleaved } from "./measure/interleaved.ts";

const CLIENT_COUNT = 2_000;
/** Events on their way at a time. */
const AHEAD = 4;
const EVENTS_PER_ROUND = 25;
const PACE = { perSecond: 10, seconds: 2, rounds: 5 };
const KINDS: readonly Kind[] = ["ours", "socket.io", "ws", "bare"];

const run = async (): Promise<readonly BenchResult[]> => {
  const contenders: Contender[] = [];
  for (const kind of KINDS) contenders.push(await Contender.start(kind, { clientCount: CLIENT_COUNT }));
  using split = splitCores(contenders.flatMap(({ pids }) => pids));
  const took = await interleaved(
    Object.fromEntries(
      contenders.map((contender) => [contender.kind, (count: number) => contender.run(count, AHEAD)]),
    ) as Record<Kind, (count: number) => Promise<void>>,
    { count: EVENTS_PER_ROUND, rounds: 7 },
  );
  const perSecond = (kind: Kind): number => Math.round((1e9 / took[kind]) * CLIENT_COUNT);
  const cpu: Record<string, number> = {};
  for (const contender of contenders) {
    const before = await contender.cpuMs();
    await contender.run(EVENTS_PER_ROUND, AHEAD);
    cpu[contender.kind] = ((await contender.cpuMs()) - before) / (EVENTS_PER_ROUND * CLIENT_COUNT);
  }
  const cpuOf = (kind: Kind): string => `${((cpu[kind] ?? 0) * 1_000).toFixed(1)} µs (${kind})`;
  const p99 = await pacedP99(contenders, PACE);
  for (const contender of contenders) contender.close();
  const what = `${CLIENT_COUNT} clients on one channel, payloads of 200 bytes, server in a process of its own, clients in another${split.isInEffect ? ", each on cores of its own" : ""}.`;
  const ratio = (kind: Kind): string => (perSecond("ours") / perSecond(kind)).toFixed(2);
  return [
    {
      unit: "ms (p99)",
      ours: p99["ours"] ?? Number.NaN,
      peers: {
        "socket.io@4.8.4": p99["socket.io"] ?? Number.NaN,
        "ws@8.23.0 send loop": p99["ws"] ?? Number.NaN,
      },
      higherIsBetter: false,
      notes: `${what} ${PACE.perSecond} events a second, from publishing to arrival. Median of the p99 of ${PACE.rounds} interleaved rounds of ${PACE.seconds} s; a bare loop of ready frames: ${p99["bare"]} ms.`,
    },
    {
      unit: "deliveries/s",
      ours: perSecond("ours"),
      peers: { "socket.io@4.8.4": perSecond("socket.io"), "ws@8.23.0 send loop": perSecond("ws") },
      higherIsBetter: true,
      notes:
        `${what} Median of 7 interleaved rounds, ${AHEAD} events on their way at a time. ${ratio("socket.io")} times ` +
        `Socket.IO, ${ratio("ws")} times a loop of ws.send; a bare loop of ready frames makes ${perSecond("bare")}/s, ` +
        `of which we reach ${Math.round((100 * perSecond("ours")) / perSecond("bare"))} %. Processor time of the server ` +
        `for one delivery: ${KINDS.map(cpuOf).join(", ")}. Ours numbers each event and ` +
        "keeps a history to recover from (frames are some 120 bytes longer); the peers keep nothing.",
    },
  ];
};

const bench: Bench = {
  name: "broadcast",
  description: "How many events a second reach the clients of one channel?",
  run,
};

export default bench;
