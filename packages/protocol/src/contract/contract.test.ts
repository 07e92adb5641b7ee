import { describe, expect, it } from "vitest";
import { InvalidMessageError } from "../errors.ts";
import { checkShape } from "../hello.ts";
import * as contract from "./index.ts";

type Message = contract.RequestDefinition | contract.PushDefinition | contract.StreamDefinition;

const isMessage = (value: unknown): value is Message =>
  typeof value === "object" && value !== null && "kind" in value && "scope" in value;
const messages = Object.values<unknown>(contract).filter(isMessage);
const named = (filter: (message: Message) => boolean): readonly string[] =>
  messages
    .filter(filter)
    .map(({ name }) => name)
    .sort();

const histogram = {
  encoded: "",
  count: 0,
  min: 0,
  mean: 0,
  max: 0,
  p50: 0,
  p90: 0,
  p95: 0,
  p99: 0,
  p999: 0,
};
const workflow = { id: "w", name: "first", workflow: "import", input: { file: "a" } };
const spec = { name: "job", workflows: [workflow] };
const submission = { jobId: "j", idempotencyKey: "c:1:n", spec };
const take = (value: unknown) => checkShape(contract.submitJob.input, value, "jobs.submit", "input");
const issuesOf = (value: unknown): unknown => {
  try {
    take(value);
  } catch (error) {
    if (error instanceof InvalidMessageError) return error.details["issues"];
    throw error;
  }
  return [];
};

describe("the messages", () => {
  it("have names of a room and a verb, each for one meaning", () => {
    for (const { name } of messages) expect(name).toMatch(/^[a-z]+\.[a-z-]+$/);
    expect(new Set(messages.map(({ name }) => name)).size).toBe(messages.length);
  });

  it("let a reader read, a submitter submit and a canceller cancel, and leave all between nodes to operators", () => {
    expect(named(({ scope }) => scope === "submit")).toEqual(["jobs.submit", "jobs.submit-all"]);
    expect(named(({ scope }) => scope === "cancel")).toEqual(["jobs.cancel"]);
    expect(named(({ scope }) => scope === "read")).toEqual([
      "cluster.get",
      "cluster.ping",
      "jobs.events",
      "jobs.events-all",
      "jobs.follow",
      "jobs.get",
      "jobs.list",
      "jobs.result",
      "jobs.unfollow",
    ]);
    expect(named(({ scope }) => scope === "operate")).toEqual(
      named(({ name }) => name.startsWith("worker.")),
    );
  });

  it("that keep work alive or stop it pass however loaded a node is", () => {
    expect(named(({ priority }) => priority === "critical")).toEqual([
      "cluster.ping",
      "jobs.cancel",
      "worker.cancel",
      "worker.leader-changed",
      "worker.outcomes",
      "worker.register",
      "worker.renew",
    ]);
  });

  it("may all be repeated after a lost answer, but for a claim, which would take twice", () => {
    expect(named((message) => message.kind !== "push" && !message.idempotent)).toEqual(["worker.claim"]);
  });
});

describe("a submission", () => {
  it("needs a name, a key and one workflow; the rest has defaults", () => {
    expect(take(submission)).toEqual({
      ...submission,
      dryRun: false,
      spec: {
        name: "job",
        workflows: [{ ...workflow, dependsOn: [], priority: "auto" }],
        timeoutMs: 300_000,
        datacenters: [],
        datacenterCount: 1,
        policy: "require-all",
        reporting: [],
        labels: {},
      },
    });
  });

  it("is refused with the field that is wrong", () => {
    for (const [path, changed] of [
      ["spec.workflows", { ...spec, workflows: [] }],
      ["spec.workflows.0.name", { ...spec, workflows: [{ ...workflow, name: "" }] }],
      ["spec.workflows.0.shards", { ...spec, workflows: [{ ...workflow, shards: 10_001 }] }],
      ["spec.workflows.0.retryBudget", { ...spec, workflows: [{ ...workflow, retryBudget: 6 }] }],
      ["spec.timeoutMs", { ...spec, timeoutMs: 0 }],
      ["spec.vus", { ...spec, vus: 1.5 }],
      ["spec.policy", { ...spec, policy: "sometimes" }],
    ] as const) {
      expect(issuesOf({ ...submission, spec: changed })).toMatchObject([{ path }]);
    }
    expect(issuesOf({ ...submission, idempotencyKey: "" })).toMatchObject([{ path: "idempotencyKey" }]);
  });

  it("takes an id that is empty or has 10,000 characters, and none that is longer", () => {
    for (const jobId of ["", "j".repeat(10_000)])
      expect(take({ ...submission, jobId })).toMatchObject({ jobId });
    expect(issuesOf({ ...submission, jobId: "j".repeat(10_001) })).toMatchObject([{ path: "jobId" }]);
  });

  it("of a newer client keeps what this version knows", () => {
    const newer = { ...submission, colour: "red", spec: { ...spec, colour: "red" } };
    expect(take(newer)).toEqual(take(submission));
  });

  it("among many is bounded with them", () => {
    const all = contract.submitJobs.input;
    const submissions = Array.from({ length: contract.SUBMISSIONS_MAX_COUNT + 1 }, () => submission);
    expect(all.safeParse({ submissions: submissions.slice(1) }).success).toBe(true);
    expect(all.safeParse({ submissions }).success).toBe(false);
    expect(all.safeParse({ submissions: [] }).success).toBe(false);
  });
});

describe("fences and positions", () => {
  it("keep what a double would round, as decimal text", () => {
    const position = { epoch: "9223372036854775807", offset: "9007199254740993" };
    expect(contract.position.parse(position)).toEqual(position);
    for (const epoch of ["-1", "1.5", "", "12345678901234567890", 7])
      expect(contract.position.safeParse({ ...position, epoch }).success).toBe(false);
  });

  it("are no larger than a store can count", () => {
    for (const text of ["0", "0000000000000000007", "999999999999999999", `${2n ** 63n - 1n}`])
      expect(contract.decimal.safeParse(text).success).toBe(true);
    for (const text of [`${2n ** 63n}`, "9999999999999999999"]) {
      expect(contract.decimal.safeParse(text).error?.issues).toMatchObject([
        { message: "a decimal number up to 2^63 - 1" },
      ]);
      // Of many claims it is one alone that is refused, by the manager.
      expect(
        contract.renewTasks.input.safeParse({ nodeId: "w", tasks: [{ taskId: "t", token: text }] }),
      ).toMatchObject({
        success: true,
      });
    }
  });
});

describe("what a worker reports", () => {
  const task = { taskId: "t", token: "5", jobId: "j", workflowId: "w", shard: 0 };
  const totals = { counters: { requests: 3 }, histograms: { ms: histogram } };

  it("is a shard that completed or one that failed, and nothing between", () => {
    const completed = {
      ...task,
      kind: "completed",
      output: [1],
      totals,
      progress: { done: 1, total: 1 },
      startedAt: 1,
      finishedAt: 2,
    };
    const error = { code: "A_B", message: "no", retryable: true };
    const failed = { ...task, kind: "failed", error, retry: true, uncounted: false };
    for (const outcome of [completed, failed]) expect(contract.taskOutcome.parse(outcome)).toEqual(outcome);
    expect(contract.taskOutcome.safeParse({ ...failed, kind: "unsure" }).success).toBe(false);
    expect(contract.taskOutcome.safeParse({ ...completed, token: undefined }).success).toBe(false);
  });

  it("carries at most 200 lines of log a shard, 8 KiB each", () => {
    const update = {
      ...task,
      progress: { done: 0, total: 0 },
      windowStart: 0,
      windowMs: 1,
      ...totals,
    };
    const line = { at: 0, level: "info", message: "x".repeat(8_192) };
    const logs = Array.from({ length: 200 }, () => line);
    const taken = (lines: readonly object[]): boolean =>
      contract.taskProgress.safeParse({ ...update, logs: lines }).success;
    expect(taken(logs)).toBe(true);
    expect(taken([...logs, line])).toBe(false);
    expect(taken([{ ...line, message: `${line.message}x` }])).toBe(false);
  });

  it("lets a reader take events of types that a later version added, and refuses known ones that are not as they say", () => {
    const entry = (event: object) => ({ position: { epoch: "1", offset: "1" }, event });
    const pushed = (...events: object[]) =>
      contract.jobEvents.payload.safeParse({
        subscriptionId: "s",
        jobId: "j",
        end: false,
        events: events.map(entry),
      });
    const known = { type: "job.status", at: 1, status: "running" };
    expect(pushed(known, { type: "job.moved", to: ["moon"] }).data?.events.map(({ event }) => event)).toEqual(
      [known, { type: "later" }],
    );
    expect(pushed({ ...known, status: "unheard of" }).success).toBe(false);
    expect(pushed({ type: 7 }).success).toBe(false);
  });
});
