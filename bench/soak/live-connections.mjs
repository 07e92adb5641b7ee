// Opens many idle connections to one live server and says what each costs in memory, then how fast events reach them
// while some of them read nothing and are flooded: their queues must stay within the bound, and the others must not
// notice. Not a bench: it compares us with what we say.
//
//   node bench/soak/live-connections.mjs [--connections 10000] [--frozen 0.05] [--seconds 20]
//
// Needs as many open files (`ulimit -n`). Prints the report as a line of JSON. Ends with 1 when a bound was broken.
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { register } from "tsx/esm/api";

register();
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const { Contender, quantile } = await import(here("../src/live/contenders.ts"));
const { LoadSockets, OURS } = await import(here("../src/live/load-sockets.ts"));

const { values } = parseArgs({
  options: {
    connections: { type: "string", default: "10000" },
    frozen: { type: "string", default: "0.05" },
    seconds: { type: "string", default: "20" },
  },
});
const connections = Number(values.connections);
const frozenCount = Math.round(connections * Number(values.frozen));
const seconds = Number(values.seconds);
const QUEUE_MAX_BYTES = 1_048_576;

const server = await Contender.start("ours", { clientCount: 0, execArgv: ["--expose-gc"] });
const [port] = server.ports;
const before = await server.ask("memory");
const load = await LoadSockets.open({
  port,
  count: connections - frozenCount,
  dialect: OURS,
  sampleEvery: 20,
});
const frozen = await LoadSockets.open({
  port,
  count: frozenCount,
  dialect: { ...OURS, greeting: () => ['{"hello":{"version":2}}', '{"id":1,"subscribe":["room","flood"]}'] },
});
const idle = await server.ask("memory");
const perConnection = (name) => Math.round((idle[name] - before[name]) / connections);

/** Publishes once a second and notes how long each event took to those who read. */
const deliver = async (count, beside) => {
  load.latencies = [];
  for (let sent = 0; sent < count; sent += 1) {
    const target = load.eventCount + load.sockets.length;
    server.publish();
    beside?.(sent);
    await Promise.all([load.until(target), new Promise((resolve) => setTimeout(resolve, 1_000))]);
  }
  return { p50: quantile(load.latencies, 0.5), p99: quantile(load.latencies, 0.99) };
};
const quiet = await deliver(Math.ceil(seconds / 2));
for (const socket of frozen.sockets) socket.pause();
let queuedMaxBytes = 0;
let rssMax = 0;
const [child] = server.children;
const flooded = await deliver(Math.ceil(seconds / 2), async (round) => {
  // 500 kB a second and frozen client; its kernel buffers take the first megabytes.
  child.send({ flood: Array.from({ length: 40 }, (_, index) => round * 40 + index) });
  child.send({ stats: true });
  const [answer] = await once(child, "message");
  queuedMaxBytes = Math.max(queuedMaxBytes, answer.stats?.queuedBytes ?? 0);
});
const { slowCloses, connectionCount } = await server.ask("stats");
const loaded = await server.ask("memory");
rssMax = loaded.rss;
const report = {
  soak: "live-connections",
  connections,
  bytesPerConnection: {
    rss: perConnection("rss"),
    heap: perConnection("heapUsed"),
    external: perConnection("external"),
  },
  latencyMs: { quiet, withFrozen: flooded },
  frozen: frozenCount,
  queuedMaxBytes,
  queueBoundBytes: frozenCount * QUEUE_MAX_BYTES,
  slowCloses,
  connectionCount,
  rssMb: { idle: Math.round(idle.rss / 2 ** 20), loaded: Math.round(rssMax / 2 ** 20) },
  readersCut: load.closedCount,
};
console.log(JSON.stringify(report));
const isGood = queuedMaxBytes <= report.queueBoundBytes && load.closedCount === 0;
process.exit(isGood ? 0 : 1);
