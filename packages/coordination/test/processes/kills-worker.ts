// One worker of bench/soak/queue-kills.mjs, to be killed or frozen at any moment. Told everything by one JSON argument;
// says which tasks it began and which ends of them were accepted, by lines of JSON on stdout.
import { runWorker, type WorkerEvents } from "@holdfast/coordination";
import { createPostgresStore } from "@holdfast/coordination/postgres";
import { createRedisStore } from "@holdfast/coordination/redis";
import { Emitter } from "@holdfast/kernel";
import type { KillsEvent, KillsWorkerOptions } from "../histories/queue-kills.ts";
import { openPg } from "../pg-client.ts";
import { openRedis } from "../redis-client.ts";

const options = JSON.parse(process.argv[2] ?? "{}") as KillsWorkerOptions;
const store =
  options.on === "postgres"
    ? await createPostgresStore({ sql: openPg(options.url, 6) })
    : await createRedisStore({ redis: await openRedis(options.url) });

let begun: (readonly [number, string])[] = [];
let accepted: (readonly [number, string])[] = [];
let refusedCount = 0;
const tell = (): void => {
  if (begun.length + accepted.length + refusedCount === 0) return;
  const event: KillsEvent = { begun, accepted, refusedCount };
  process.stdout.write(`${JSON.stringify(event)}\n`);
  begun = [];
  accepted = [];
  refusedCount = 0;
};

const events = new Emitter<WorkerEvents>();
events.on("completed", ({ task }) => accepted.push([Number(task.payload), task.token.toString()]));
events.on("lost", () => {
  refusedCount += 1;
});

/** Work of up to ten milliseconds; one timer for all of it. */
let working: (() => void)[] = [];
setInterval(() => {
  const ended = working;
  working = [];
  tell();
  for (const end of ended) end();
}, 10);

process.stdout.write("{}\n");
await runWorker({
  queue: store.queue("kills"),
  worker: options.worker,
  leaseMs: options.leaseMs,
  concurrency: 100,
  prefetch: 400,
  events,
  handlers: {
    t: async ({ task }) => {
      begun.push([Number(task.payload), task.token.toString()]);
      await new Promise<void>((resolve) => working.push(resolve));
      return undefined;
    },
  },
});
