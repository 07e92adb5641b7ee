import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Logger } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import type { Assignment } from "@holdfast/protocol/contract";
import { makeTempDirectory } from "@holdfast/testkit";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { ShardCancelledError, WorkerDrainingError } from "../../src/index.ts";
import {
  createThreadExecutor,
  type Execution,
  type Executor,
  type ShardOutcome,
  type ShardUpdate,
  type ThreadExecutorOptions,
  type WorkerDatabase,
} from "../../src/worker/index.ts";

const modulePath = fileURLToPath(new URL("./fixtures/workflows.ts", import.meta.url));
const open: Executor[] = [];
/** Threads take half a second to start from sources, so attempts that leave them whole share an executor. */
const sharedClock = new VirtualClock();
const sharedDatabase = fakeDatabase();
let shared: Executor;

beforeAll(async () => {
  shared = createThreadExecutor({
    modulePath,
    nodeId: "worker-1",
    cores: 2,
    clock: sharedClock,
    database: sharedDatabase,
  });
  await shared.start();
});

afterAll(() => shared.close());

beforeEach(() => sharedDatabase.clear());

afterEach(async () => {
  await Promise.all(open.splice(0).map((executor) => executor.close()));
});

const start = async (options: Partial<ThreadExecutorOptions> = {}): Promise<Executor> => {
  const executor = createThreadExecutor({ modulePath, nodeId: "worker-1", cores: 2, ...options });
  open.push(executor);
  await executor.start();
  return executor;
};

const assignment = (workflow: string, overrides: Partial<Assignment> = {}): Assignment => ({
  taskId: "job-1/wf-1/0",
  token: "7",
  jobId: "job-1",
  workflowId: "wf-1",
  name: workflow,
  workflow,
  shard: 0,
  shardCount: 1,
  attempt: 1,
  maxAttempts: 3,
  input: {},
  timeoutMs: 60_000,
  datacenter: "east",
  leader: { nodeId: "manager-1", address: "manager-1:7411", fence: "1" },
  dependencies: {},
  ...overrides,
});

const run = (
  executor: Executor,
  workflow: string,
  overrides: Partial<Assignment> = {},
): Promise<ShardOutcome> =>
  executor.execute(assignment(workflow, overrides), { onUpdate: () => undefined }).outcome;

/** A thread that failed must not keep the next attempt from running. */
const expectStillWorking = async (executor: Executor): Promise<void> => {
  const outcome = await run(executor, "echo", { input: { value: "still here" } });
  // Why it failed is not among what is compared.
  expect(outcome, JSON.stringify(outcome)).toMatchObject({
    kind: "completed",
    output: { value: "still here" },
  });
};

describe("an attempt in a thread", () => {
  it("gets its assignment and gives back its output", async () => {
    const executor = shared;
    const outcome = await run(executor, "echo", {
      input: { value: { deep: [1, null, "ñ"] } },
      shard: 3,
      attempt: 2,
      token: "9007199254740993",
      dependencies: { fetch: { outputs: [], counters: {} } },
    });
    expect(outcome).toMatchObject({
      kind: "completed",
      output: {
        value: { deep: [1, null, "ñ"] },
        shard: 3,
        attempt: 2,
        fence: "9007199254740993",
        idempotencyKey: "job-1/wf-1/0",
        datacenter: "east",
        dependencies: ["fetch"],
      },
    });
  });

  it("tells its progress when asked, and what it tells adds up to its totals", async () => {
    const executor = shared;
    const updates: ShardUpdate[] = [];
    const execution = executor.execute(assignment("measure", { input: { rounds: 60 } }), {
      onUpdate: (update) => updates.push(update),
    });
    const outcome = await collectingUntilEnd(execution);
    if (outcome.kind !== "completed") throw new Error(`did not complete: ${JSON.stringify(outcome)}`);
    const all = outcome.lastUpdate === undefined ? updates : [...updates, outcome.lastUpdate];
    expect(updates.length).toBeGreaterThan(2);
    expect(all.reduce((sum, { counters }) => sum + (counters["rows"] ?? 0), 0)).toBe(180);
    expect(all.flatMap(({ logs }) => logs).length).toBe(60);
    expect(outcome.totals).toMatchObject({
      counters: { rows: 180 },
      histograms: { ms: { count: 60, max: 60 } },
    });
    expect(outcome.progress).toEqual({ done: 60, total: 60 });
    expect(outcome.output).toBeNull();
  });

  it("runs load tests", async () => {
    const executor = shared;
    const outcome = await run(executor, "load");
    expect(outcome).toMatchObject({ kind: "completed", output: { model: "closed" } });
    if (outcome.kind === "completed") {
      expect(outcome.totals.counters["requests"]).toBe(outcome.totals.histograms["latency"]?.count);
    }
  });

  it.each([
    ["an error", "error", { retry: true, error: { code: "JOBS_WORKFLOW_FAILED", message: "bad row" } }],
    ["a PermanentError", "permanent", { retry: false, error: { code: "JOBS_PERMANENT" } }],
    ["something else", "text", { retry: true, error: { message: "the workflow threw just a text" } }],
    ["a circular output", "circular", { retry: false, error: { code: "JOBS_INVALID_OUTPUT" } }],
    ["a bigint in its output", "bigint", { retry: false, error: { code: "JOBS_INVALID_OUTPUT" } }],
    [
      "an output over 1 MiB",
      "huge",
      { retry: false, error: { message: expect.stringContaining("1048576") } },
    ],
  ])("that ends with %s fails alone and says so", async (_what, how, expected) => {
    const executor = shared;
    expect(await run(executor, "failing", { input: { how } })).toMatchObject({
      kind: "failed",
      uncounted: false,
      ...expected,
    });
    await expectStillWorking(executor);
  });

  it.each([
    ["calls process.exit", "exit", "process.exit(3) was called"],
    ["throws outside its promise", "uncaught", "uncaught RangeError: outside of any promise"],
    ["leaves a rejection unhandled", "rejected", "uncaught Error: nobody waits for this"],
  ])("that %s fails, may be tried again, and takes nothing with it", async (_what, workflow, why) => {
    const executor = shared;
    const neighbour = run(executor, "measure", { input: { rounds: 20 } });
    expect(await run(executor, workflow)).toMatchObject({
      kind: "failed",
      retry: true,
      uncounted: false,
      error: { code: "JOBS_SHARD_CRASHED", message: expect.stringContaining(why) },
    });
    expect(await neighbour).toMatchObject({ kind: "completed" });
    await expectStillWorking(executor);
  });

  it("that needs more memory than it may fails with that reason", async () => {
    // Enough to load the workflows from their sources, with room to spare.
    const executor = await start({ memoryMb: 96 });
    expect(await run(executor, "greedy")).toMatchObject({
      kind: "failed",
      retry: true,
      error: {
        code: "JOBS_SHARD_CRASHED",
        message: expect.stringMatching(/out of memory.*96 MiB.*threadMemoryMb/),
      },
    });
    await expectStillWorking(executor);
  });

  it("gets more time than its limit when it asks for it and got on", async () => {
    const execution = shared.execute(assignment("asks-for-time"), { onUpdate: () => undefined });
    expect(await execution.outcome).toMatchObject({ kind: "completed", output: [30_000, 0, 15_000] });
  });

  it("that loops for ever is ended by force, 5 s after its limit, while the node goes on", async () => {
    const clock = sharedClock;
    const executor = shared;
    const execution = executor.execute(assignment("endless", { timeoutMs: 1_000 }), {
      onUpdate: () => undefined,
    });
    // The other thread answers while the loop runs: nothing blocks the node.
    await expectStillWorking(executor);
    await clock.advance(6_001);
    expect(await execution.outcome).toMatchObject({
      kind: "failed",
      retry: true,
      error: { code: "JOBS_SHARD_TIMEOUT", message: expect.stringContaining("endless loop") },
    });
    await expectStillWorking(executor);
  });

  it.each([
    ["hears its signal", "wait", 0],
    ["is deaf", "deaf", 5_001],
    ["loops for ever", "endless", 5_001],
  ])("that %s ends when it is stopped", async (_what, workflow, waitMs) => {
    const clock = sharedClock;
    const executor = shared;
    const execution = executor.execute(assignment(workflow), { onUpdate: () => undefined });
    await expectStillWorking(executor);
    execution.stop(new ShardCancelledError("attempt 1", "the user asked"));
    await clock.advance(waitMs);
    expect(await execution.outcome).toMatchObject({
      kind: "failed",
      retry: true,
      uncounted: true,
      error: { code: "JOBS_SHARD_CANCELLED", message: expect.stringContaining("the user asked") },
    });
    await expectStillWorking(executor);
  });

  it("keeps what it prints out of the node's own output, in the log", async () => {
    const lines: [string, object][] = [];
    const logger: Logger = {
      debug: () => undefined,
      info: (fields, message) => lines.push([message, fields]),
      warn: () => undefined,
      error: () => undefined,
      child: () => logger,
    };
    const executor = await start({ logger });
    await run(executor, "printing");
    await vi.waitFor(() => {
      expect(lines).toContainEqual(["to standard output", { stream: "stdout" }]);
      expect(lines).toContainEqual(["to standard error", { stream: "stderr" }]);
    });
  });
});

describe("the threads", () => {
  it("are used again: no more of them than cores", async () => {
    const threads = new Set<unknown>();
    for (let round = 0; round < 10; round += 1) {
      const outcomes = await Promise.all([0, 1].map(() => run(shared, "whereabouts")));
      for (const outcome of outcomes) threads.add(outcome.kind === "completed" ? outcome.output : outcome);
    }
    expect(threads.size).toBe(2);
  });

  it("that idle for 30 s are ended, and one fresh thread is ready for the next attempt", async () => {
    const whereabouts = async (): Promise<unknown> => {
      const outcome = await run(shared, "whereabouts");
      return outcome.kind === "completed" ? outcome.output : outcome;
    };
    const first = await whereabouts();
    await sharedClock.advance(29_000);
    expect(await whereabouts()).toEqual(first);
    await sharedClock.advance(29_000);
    expect(await whereabouts()).toEqual(first);
    await sharedClock.advance(31_000);
    await vi.waitFor(async () => expect(await whereabouts()).not.toEqual(first));
    await expectStillWorking(shared);
  });

  it("validate inputs, and survive a schema that never ends", async () => {
    const clock = sharedClock;
    const executor = shared;
    expect(await executor.validate({ workflow: "failing", input: { how: "soon" } })).toMatchObject({
      outcome: "invalid",
      issues: [{ path: "how", value: "soon" }],
    });
    expect(await executor.validate({ workflow: "nope", input: {} })).toMatchObject({
      outcome: "unknown-workflow",
    });
    const endless = executor.validate({ workflow: "slow-schema", input: "for ever" });
    endless.catch(() => undefined);
    await expectStillWorking(executor);
    await clock.advance(5_001);
    await expect(endless).rejects.toMatchObject({ code: "KERNEL_TIMEOUT" });
    expect(await executor.validate({ workflow: "echo", input: { value: 1 } })).toMatchObject({
      outcome: "valid",
    });
  });

  it("that no longer load cost an attempt each, so that the shard waits, and fails in the end, saying why", async () => {
    await using directory = await makeTempDirectory("workflows");
    const path = join(directory.path, "workflows.mjs");
    const fixture = new URL("./fixtures/listed.mjs", import.meta.url).href;
    await writeFile(path, `export * from ${JSON.stringify(fixture)};`);
    const executor = await start({ modulePath: path });
    await writeFile(path, `throw new Error("half of it was deployed");`);
    // The first takes the thread that is there, the second needs one of its own.
    const [, second] = await Promise.all([run(executor, "one"), run(executor, "two", { shard: 1 })]);
    expect(second).toMatchObject({
      kind: "failed",
      retry: true,
      uncounted: false,
      error: {
        code: "JOBS_WORKFLOW_MODULE",
        message: expect.stringContaining("half of it was deployed"),
      },
    });
  });

  it("end with the executor, and what runs is given back", async () => {
    const executor = await start();
    const outcome = run(executor, "wait");
    await executor.close();
    expect(await outcome).toMatchObject({
      kind: "failed",
      uncounted: true,
      error: { code: new WorkerDrainingError("worker-1").code },
    });
    await executor.close();
  });
});

describe("the worker's database, from a thread", () => {
  it("does an effect once, in one transaction, with values of every kind", async () => {
    const database = sharedDatabase;
    const executor = shared;
    const first = await run(executor, "database", { input: { how: "once" } });
    expect(first).toMatchObject({ kind: "completed", output: { rows: 1 } });
    expect(database.committed).toEqual([
      ["insert one", [0]],
      ["insert two", [new Date(0), new Uint8Array(Buffer.from("bytes")), 5n]],
    ]);
    expect(await run(executor, "database", { input: { how: "once" } })).toMatchObject({
      output: { rows: 1 },
    });
    expect(database.committed.length).toBe(2);
  });

  it("rolls back when the body throws, and the workflow gets its own error", async () => {
    const database = sharedDatabase;
    const executor = shared;
    expect(await run(executor, "database", { input: { how: "throw" } })).toMatchObject({
      kind: "failed",
      error: { message: "changed my mind" },
    });
    expect(database.committed).toEqual([]);
    expect(database.openCount).toBe(0);
  });

  it("rolls back when the attempt is stopped, also when it hangs in the body", async () => {
    const database = sharedDatabase;
    const executor = shared;
    const execution = executor.execute(assignment("database", { input: { how: "hang" } }), {
      onUpdate: () => undefined,
    });
    await vi.waitFor(() => expect(database.openCount).toBe(1));
    execution.stop(new ShardCancelledError("attempt 1", ""));
    expect(await execution.outcome).toMatchObject({ error: { code: "JOBS_SHARD_CANCELLED" } });
    await vi.waitFor(() => expect(database.openCount).toBe(0));
    expect(database.committed).toEqual([]);
    await expectStillWorking(executor);
  });

  it("does nothing for an attempt that is over", async () => {
    const database = sharedDatabase;
    const executor = shared;
    expect(await run(executor, "database", { input: { how: "leak" } })).toMatchObject({ kind: "completed" });
    expect(await run(executor, "measure", { input: { rounds: 40 } })).toMatchObject({ kind: "completed" });
    expect(database.committed).toEqual([]);
    expect(database.openCount).toBe(0);
  });

  it("runs plain statements, and errors keep their code", async () => {
    const executor = shared;
    expect(await run(executor, "database", { input: { how: "plain" } })).toMatchObject({
      output: [{ n: 1 }],
    });
    expect(await run(executor, "database", { input: { how: "bad-sql" } })).toMatchObject({
      output: { code: "42601", message: "syntax error" },
    });
  });

  it("is refused with advice where the worker has none", async () => {
    const executor = await start();
    expect(await run(executor, "database", { input: { how: "once" } })).toMatchObject({
      kind: "failed",
      error: { code: "JOBS_WORKER_HAS_NO_DATABASE", message: expect.stringContaining("--database") },
    });
  });
});

/** Asks for updates as a worker does, until the attempt ends. */
const collectingUntilEnd = async (execution: Execution): Promise<ShardOutcome> => {
  let outcome: ShardOutcome | undefined;
  void execution.outcome.then((ended) => {
    outcome = ended;
  });
  await vi.waitFor(
    () => {
      execution.collect();
      expect(outcome).toBeDefined();
    },
    { timeout: 15_000, interval: 10 },
  );
  return execution.outcome;
};

/** Stores results of effects and what transactions committed; statements that start with "not" fail as in PostgreSQL. */
function fakeDatabase(): WorkerDatabase & {
  readonly committed: (readonly [string, readonly unknown[]])[];
  readonly openCount: number;
  clear(): void;
} {
  const committed: (readonly [string, readonly unknown[]])[] = [];
  const results = new Map<string, unknown>();
  let openCount = 0;
  return {
    committed,
    clear: () => {
      committed.length = 0;
      results.clear();
    },
    get openCount() {
      return openCount;
    },
    sql: {
      query: async (text) => {
        if (text.startsWith("not")) throw Object.assign(new Error("syntax error"), { code: "42601" });
        return [{ n: 1 }] as never;
      },
    },
    effects: {
      run: async ({ scope, name }, body) => {
        const key = `${scope} ${name}`;
        if (results.has(key)) return results.get(key) as never;
        const written: (readonly [string, readonly unknown[]])[] = [];
        openCount += 1;
        try {
          const result = await body({
            query: async (text, values = []) => {
              written.push([text, values]);
              return [{ n: 1 }] as never;
            },
          });
          committed.push(...written);
          results.set(key, result);
          return result;
        } finally {
          openCount -= 1;
        }
      },
    },
  };
}
