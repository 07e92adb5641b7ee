// Adds tasks to a queue and runs them at the same time, so that always as many wait: few, many, very many; then while
// another session holds an old snapshot. Not a bench: it compares us with ourselves.
import { parseArgs } from "node:util";
import { type NewTask, runWorker, type TaskQueue } from "@holdfast/coordination";
import { createPostgresStore } from "@holdfast/coordination/postgres";
import { createRedisStore } from "@holdfast/coordination/redis";
import { type Database, openPostgres, openRedis } from "@holdfast/data";
import { type Deferred, deferred, systemClock } from "@holdfast/kernel";
import { startPostgres, startRedis } from "@holdfast/testkit";
import { median } from "../measure/median.ts";
import { SMALL } from "../queue/payloads.ts";

const { values: flags } = parseArgs({
  options: {
    on: { type: "string", default: "postgres" },
    depths: { type: "string" },
    seconds: { type: "string", default: "60" },
    "snapshot-minutes": { type: "string", default: "10" },
  },
});
const ON_POSTGRES = flags.on !== "redis";
const DEPTHS = (flags.depths ?? (ON_POSTGRES ? "10000,1000000,5000000" : "10000,1000000"))
  .split(",")
  .map(Number);
const SLICE_SECONDS = 10;
const SLICES = Math.ceil(Number(flags.seconds) / SLICE_SECONDS);
const SNAPSHOT_SLICES = ON_POSTGRES ? (Number(flags["snapshot-minutes"]) * 60) / SLICE_SECONDS : 0;
/** What has to be left of the throughput at the first depth. */
const KEPT_MIN = 0.9;
const ADD_COUNT = 1_000;
/** Handlers wait when the queue is so much less deep than it should be. */
const SLACK = 5_000;

const note = (what: object): void => console.log(JSON.stringify(what));
const task: NewTask = { type: "no-op", payload: { text: SMALL }, keepCompleted: false };
const batch = Array.from({ length: ADD_COUNT }, () => task);

/** A queue that is kept at one depth. */
class Flow {
  readonly #queue: TaskQueue<never>;
  #depth = 0;
  #added = 0;
  #ran = 0;
  #isOver = true;
  #changed: Deferred<void> = deferred();

  constructor(queue: TaskQueue<never>) {
    this.#queue = queue;
  }

  async fill(depth: number): Promise<void> {
    this.#depth = depth;
    while (this.#waiting < depth) await this.#add();
  }

  /** Tasks a second, for each slice of time; the first slice only warms up. */
  async measure(slices: number, onSlice: (rate: number, slice: number) => void): Promise<readonly number[]> {
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
    const rates: number[] = [];
    for (let slice = -1; slice < slices; slice += 1) {
      const startedAt = performance.now();
      const before = this.#ran;
      await systemClock.sleep(SLICE_SECONDS * 1000);
      const rate = Math.round(((this.#ran - before) * 1000) / (performance.now() - startedAt));
      if (slice < 0) continue;
      rates.push(rate);
      onSlice(rate, slice);
    }
    this.#isOver = true;
    this.#tell();
    end.abort(new Error("measured"));
    await Promise.all([worker, ...adders]);
    return rates;
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

const progress = (what: string) => (rate: number, slice: number) =>
  console.error(`${what}, ${(slice + 1) * SLICE_SECONDS} s: ${rate} tasks/s`);

const run = async (queue: TaskQueue<never>, foreign: Database | undefined): Promise<boolean> => {
  const flow = new Flow(queue);
  let first: number | undefined;
  let isKept = true;
  const report = (what: object, rates: readonly number[]): void => {
    const rate = median(rates);
    first ??= rate;
    const kept = Number((rate / first).toFixed(3));
    if (kept < KEPT_MIN) isKept = false;
    note({ on: flags.on, ...what, tasksPerSecond: rate, kept, slowestSlice: Math.min(...rates) });
  };
  for (const [index, depth] of DEPTHS.entries()) {
    await flow.fill(depth);
    report({ waiting: depth }, await flow.measure(SLICES, progress(`${depth} waiting`)));
    if (index > 0 || foreign === undefined || SNAPSHOT_SLICES === 0) continue;
    await foreign.transaction(async (tx) => {
      await tx.query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ");
      await tx.query("SELECT count(*) FROM holdfast.tasks");
      const rates = await flow.measure(SNAPSHOT_SLICES, progress("an old snapshot is held"));
      // What the last minute of it keeps is what would be left if it went on.
      report({ waiting: depth, snapshotHeldSeconds: SNAPSHOT_SLICES * SLICE_SECONDS }, rates.slice(-6));
    });
  }
  return isKept;
};

const onPostgres = async (): Promise<boolean> => {
  await using server = await startPostgres({ settings: { fsync: true, shared_buffers: "128MB" } });
  const url = await server.createDatabase("depth");
  await using sql = await openPostgres({ url });
  await using foreign = await openPostgres({ url });
  await using store = await createPostgresStore({ sql });
  return await run(store.queue("depth"), foreign);
};

const onRedis = async (): Promise<boolean> => {
  await using server = await startRedis();
  await using redis = openRedis({ url: server.url });
  await using store = await createRedisStore({ redis });
  return await run(store.queue("depth"), undefined);
};

if (!(await (ON_POSTGRES ? onPostgres() : onRedis()))) {
  console.error(`a deep queue or an old snapshot left less than ${KEPT_MIN} of the throughput`);
  process.exitCode = 1;
}
