// Adds tasks to queues and runs them at the same time, so that always as many wait: few, many, very many; then while
// another session holds an old snapshot, beside a queue where nobody does. They take turns, so that a disturbance of the
// machine meets all of them. Not a bench: it compares us with ourselves.
import { parseArgs } from "node:util";
import { type NewTask, runWorker, type TaskQueue } from "@holdfast/coordination";
import { createPostgresStore } from "@holdfast/coordination/postgres";
import { createRedisStore } from "@holdfast/coordination/redis";
import { openPostgres, openRedis } from "@holdfast/data";
import { type Deferred, deferred, systemClock } from "@holdfast/kernel";
import { type PostgresServer, startPostgres, startRedis } from "@holdfast/testkit";
import pg from "pg";
import { median } from "../measure/median.ts";
import { SMALL } from "../queue/payloads.ts";

const { values: flags } = parseArgs({
  options: {
    on: { type: "string", default: "postgres" },
    depths: { type: "string" },
    rounds: { type: "string", default: "7" },
    "snapshot-minutes": { type: "string", default: "10" },
  },
});
const ON_POSTGRES = flags.on !== "redis";
const DEPTHS = (flags.depths ?? (ON_POSTGRES ? "10000,1000000,5000000" : "10000,1000000"))
  .split(",")
  .map(Number);
const ROUNDS = Number(flags.rounds);
const SNAPSHOT_MS = ON_POSTGRES ? Number(flags["snapshot-minutes"]) * 60_000 : 0;
const WARM_UP_MS = 2_000;
const TURN_MS = 10_000;
/** What has to be left of the throughput. */
const KEPT_MIN = 0.9;
const ADD_COUNT = 1_000;
/** Handlers wait when the queue is so much less deep than it should be. */
const SLACK = 5_000;

const task: NewTask = { type: "no-op", payload: { text: SMALL }, keepCompleted: false };
const batch = Array.from({ length: ADD_COUNT }, () => task);

/** A queue that is kept at one depth. */
class Flow {
  readonly name: string;
  /** Tasks a second in each of its turns. */
  readonly rates: number[] = [];
  readonly #queue: TaskQueue<never>;
  readonly #depth: number;
  #added = 0;
  #ran = 0;
  #isOver = true;
  #changed: Deferred<void> = deferred();

  constructor(name: string, queue: TaskQueue<never>, depth: number) {
    this.name = name;
    this.#queue = queue;
    this.#depth = depth;
  }

  async fill(): Promise<void> {
    while (this.#waiting < this.#depth) await this.#add();
  }

  async takeTurn(): Promise<void> {
    const end = new AbortController();
    this.#isOver = false;
    const worker = runWorker({
      queue: this.#queue,
      worker: "depth",
      handlers: { "no-op": () => this.#handle() },
      concurrency: 100,
      prefetch: 1_900,
      signal: end.signal,
    });
    const adders = [0, 1].map(async () => {
      while (!this.#isOver) {
        if (this.#waiting > this.#depth) await this.#changed.promise;
        else await this.#add();
      }
    });
    await systemClock.sleep(WARM_UP_MS);
    const startedAt = performance.now();
    const before = this.#ran;
    await systemClock.sleep(TURN_MS);
    const rate = Math.round(((this.#ran - before) * 1000) / (performance.now() - startedAt));
    this.#isOver = true;
    this.#tell();
    end.abort(new Error("measured"));
    await Promise.all([worker, ...adders]);
    this.rates.push(rate);
    console.error(`${this.name}: ${rate} tasks/s`);
  }

  get #waiting(): number {
    return this.#added - this.#ran;
  }

  async #handle(): Promise<undefined> {
    this.#ran += 1;
    this.#tell();
    while (!this.#isOver && this.#waiting < this.#depth - SLACK) await this.#changed.promise;
    return undefined;
  }

  async #add(): Promise<void> {
    await this.#queue.enqueue(batch);
    this.#added += ADD_COUNT;
    this.#tell();
  }

  #tell(): void {
    const { resolve } = this.#changed;
    this.#changed = deferred();
    resolve();
  }
}

let isKept = true;

/** Compares what each did in its last `count` turns with what the first of them did. */
const report = (flows: readonly Flow[], count: number): void => {
  const [first = Number.NaN] = flows.map(({ rates }) => median(rates.slice(-count)));
  for (const { name, rates } of flows) {
    const tasksPerSecond = median(rates.slice(-count));
    const kept = Number((tasksPerSecond / first).toFixed(3));
    if (kept < KEPT_MIN) isKept = false;
    console.log(JSON.stringify({ on: flags.on, queue: name, tasksPerSecond, kept, turns: count }));
  }
};

const compareDepths = async (queueOf: (name: string) => Promise<TaskQueue<never>>): Promise<void> => {
  const flows: Flow[] = [];
  for (const depth of DEPTHS) {
    const flow = new Flow(`${depth} waiting`, await queueOf(`depth_${depth}`), depth);
    await flow.fill();
    flows.push(flow);
  }
  for (let round = 0; round < ROUNDS; round += 1) for (const flow of flows) await flow.takeTurn();
  report(flows, ROUNDS);
};

const compareSnapshots = async (
  server: PostgresServer,
  queueOf: (name: string) => Promise<TaskQueue<never>>,
): Promise<void> => {
  const [depth = 10_000] = DEPTHS;
  // What must be kept is a matter of each database by itself.
  const calm = new Flow("nobody holds a snapshot", await queueOf("calm"), depth);
  const held = new Flow("an old snapshot is held", await queueOf("held"), depth);
  await calm.fill();
  await held.fill();
  const holder = new pg.Client({ connectionString: server.url.replace(/[^/]*$/, "held") });
  await holder.connect();
  try {
    await holder.query("BEGIN ISOLATION LEVEL REPEATABLE READ");
    await holder.query("SELECT count(*) FROM holdfast.tasks");
    const until = performance.now() + SNAPSHOT_MS;
    while (performance.now() < until) {
      await calm.takeTurn();
      await held.takeTurn();
    }
    await holder.query("COMMIT");
  } finally {
    await holder.end();
  }
  // What the last third keeps says whether it goes on falling.
  report([calm, held], Math.ceil(held.rates.length / 3));
};

const onPostgres = async (): Promise<void> => {
  await using server = await startPostgres({ settings: { fsync: true, shared_buffers: "128MB" } });
  const opened: AsyncDisposable[] = [];
  const queueOf = async (name: string): Promise<TaskQueue<never>> => {
    const sql = await openPostgres({ url: await server.createDatabase(name) });
    const store = await createPostgresStore({ sql });
    opened.push(store, sql);
    return store.queue("depth");
  };
  try {
    if (SNAPSHOT_MS > 0) await compareSnapshots(server, queueOf);
    await compareDepths(queueOf);
  } finally {
    for (const resource of opened) await resource[Symbol.asyncDispose]();
  }
};

const onRedis = async (): Promise<void> => {
  await using server = await startRedis();
  await using redis = openRedis({ url: server.url });
  await using store = await createRedisStore({ redis });
  await compareDepths(async (name) => store.queue(name));
};

await (ON_POSTGRES ? onPostgres() : onRedis());
if (!isKept) {
  console.error(`a deep queue or an old snapshot left less than ${KEPT_MIN} of the throughput`);
  process.exitCode = 1;
}
