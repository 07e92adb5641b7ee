// Clients that watch one job over a connection each, in a process of their own, so that their cost is not the gate's.
// Started with: address, job, count. Says "ready" when all have the first event, and what they saw at the end.
import { tcpTransport } from "@holdfast/connection";
import { createClient } from "@holdfast/jobs/client";

const [address, jobId, count] = process.argv.slice(2);
const transport = tcpTransport();
const lags = [];
const seen = new Map();
let readyCount = 0;
let eventCount = 0;
let wrongCount = 0;
let firstAt = Number.POSITIVE_INFINITY;
let lastAt = 0;

const take = (event, offset) => {
  if (event.type !== "log" && event.type !== "window") return;
  const now = Date.now();
  eventCount += 1;
  firstAt = Math.min(firstAt, now);
  lastAt = Math.max(lastAt, now);
  if (event.type === "log") lags.push(now - event.at);
  const known = seen.get(offset);
  if (known === undefined) seen.set(offset, { firstAt: now, spreads: [0] });
  else known.spreads.push(now - known.firstAt);
};

const clients = Array.from({ length: Number(count) }, () => createClient({ gates: [address], transport }));
await Promise.all(
  clients.map(async (client, index) => {
    // Not all in one moment: that is another question.
    await new Promise((resolve) => setTimeout(resolve, index * 3));
    let isReady = false;
    let last = 0;
    for await (const item of client.watch(jobId)) {
      if (item.kind !== "event") continue;
      if (!isReady) {
        isReady = true;
        readyCount += 1;
        if (readyCount === clients.length) process.send({ ready: true });
      }
      const offset = Number(item.position.offset);
      if (offset !== last + 1) wrongCount += 1;
      last = offset;
      take(item.event, offset);
    }
    await client.close();
  }),
);
const p99 = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length * 0.99)] ?? 0;
const spreads = [...seen.values()].flatMap((event) => event.spreads);
process.send(
  {
    eventCount,
    wrongCount,
    tookMs: lastAt - firstAt,
    lagP99Ms: p99(lags),
    spreadP99Ms: p99(spreads),
  },
  () => process.exit(0),
);
