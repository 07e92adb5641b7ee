import type { Json } from "@holdfast/coordination";
import type { SqlExecutor } from "@holdfast/coordination/postgres";
import type { Clock, Logger } from "@holdfast/kernel";
import type { StandardSchemaV1 } from "@standard-schema/spec";

/** What a workflow gets while one attempt of one shard runs. */
export interface WorkflowContext<Input> {
  /** Validated by the definition's schema (its output: defaults applied, strings trimmed …). */
  readonly input: Input;
  readonly jobId: string;
  /** The workflow's name within its job. */
  readonly name: string;
  /** 0 … shardCount - 1. */
  readonly shard: number;
  readonly shardCount: number;
  /** Starts at 1. */
  readonly attempt: number;
  readonly datacenter: string;
  /** Virtual users of this shard, its part of the job's; undefined when the job names none. */
  readonly vus: number | undefined;
  /** How long the job wants a load test to run, milliseconds; undefined when it does not say. */
  readonly durationMs: number | undefined;
  /** How long this attempt may run, milliseconds. */
  readonly timeoutMs: number;
  /** The worker's time. Use it for waits and measurements, so that the workflow also runs on a simulated clock. */
  readonly clock: Clock;
  /**
   * Aborts when the job is cancelled, the attempt times out, or the claim is lost. Stop soon: what you do
   * afterwards is refused wherever the fence is checked, and the thread is ended after a grace of 5 s.
   */
  readonly signal: AbortSignal;
  /** The fence of this attempt. Send it with writes to other systems and let them refuse smaller ones. */
  readonly fence: bigint;
  /** The same for every attempt of this shard: an idempotency key for calls to other systems. */
  readonly idempotencyKey: string;
  readonly log: Logger;
  /** Says how far this shard is. Cheap: call it as often as you like. */
  progress(done: number, total?: number): void;
  /**
   * Asks for more time than `timeoutMs`: 30 s, then 15 s, 7.5 s and so on, at most five times, and each only when what
   * `progress` was told as done grew since the one before. The job's own timeout stands.
   * @returns the milliseconds granted; 0 when refused.
   */
  extendTimeout(): Promise<number>;
  /** Adds to a counter of this attempt. Negative and non-finite values are refused with InvalidInputError. */
  count(name: string, amount?: number): void;
  /** Records one value (for example milliseconds) in a histogram of this attempt; 3 significant digits. */
  record(name: string, value: number): void;
  /**
   * Results of the workflows that this one depends on, by name: outputs by shard (of the first 1000 shards, and of these
   * the first 512 KiB), how many shards returned something that is not among them (absent when none did), and counters. With the input at most 7.5 MiB: over that this workflow fails before it starts
   * (JOBS_DEPENDENCIES_TOO_LARGE).
   */
  readonly dependencies: Readonly<
    Record<
      string,
      {
        readonly outputs: readonly Json[];
        readonly outputsOmitted?: number;
        readonly counters: Readonly<Record<string, number>>;
      }
    >
  >;
  /**
   * Does `body` in one SQL transaction exactly once for this job, shard and `name`, however often the shard is
   * tried: a later attempt gets the stored result without running `body`. A stale attempt is refused
   * (DATA_STALE_FENCE). Needs a database on the worker.
   * @throws WorkerHasNoDatabaseError when there is none.
   */
  effect<T extends Json>(name: string, body: (tx: SqlExecutor) => Promise<T>): Promise<T>;
  /** Plain statements on the worker's database, outside any transaction. @throws WorkerHasNoDatabaseError */
  readonly sql: SqlExecutor;
}

export interface BackoffOptions {
  /** Before the second attempt, milliseconds. Default 1000. */
  readonly baseMs?: number;
  /** Default 2. */
  readonly factor?: number;
  /** Default 60_000. */
  readonly capMs?: number;
}

interface CommonOptions<Schema extends StandardSchemaV1> {
  /** Unique among the workflows of a worker: 1 to 128 characters of letters, digits, `.`, `_`, `-`. */
  readonly name: string;
  readonly description?: string;
  /** Any Standard Schema (zod, valibot, arktype …). A submission whose input fails it is refused before it is stored. */
  readonly input: Schema;
  /** How many parts run in parallel, 1 to 10_000. Default 1. */
  readonly shards?: number | ((input: StandardSchemaV1.InferOutput<Schema>) => number);
  /** Attempts per shard in all, 1 to 1000. Default 3. */
  readonly maxAttempts?: number;
  readonly backoff?: BackoffOptions;
  /** Longest run of one attempt, milliseconds. Default 300_000. */
  readonly timeoutMs?: number;
}

/** What `run` may give: JSON, or nothing. */
// biome-ignore lint/suspicious/noConfusingVoidType: an async function without a return statement has this type
export type WorkflowOutput = Json | undefined | void;

export interface WorkflowOptions<Schema extends StandardSchemaV1, Output extends WorkflowOutput>
  extends CommonOptions<Schema> {
  /**
   * Workflows (by registered name) that must complete first; submitted along when the job lacks them. What they leave
   * comes with every shard: return references to what is large (a row, an object's key), see `context.dependencies`.
   */
  readonly dependsOn?: readonly string[];
  /**
   * Runs one shard. Return plain JSON (at most 1 MiB, nested at most 100 levels deep): what JSON would lose, such as a
   * map or an error, fails the shard with InvalidOutputError. Throw to fail the attempt; throw a PermanentError to fail
   * the shard without further attempts.
   */
  run(context: WorkflowContext<StandardSchemaV1.InferOutput<Schema>>): Promise<Output>;
}

export interface LoadTestOptions<Schema extends StandardSchemaV1> extends CommonOptions<Schema> {
  /**
   * Open model: this many actions start per second (per datacenter, split over shards), whether or not earlier
   * ones have ended. Latency counts from when an action should have started, so a stalled server cannot hide
   * (coordinated omission). Without it the model is closed: each virtual user starts its next action when
   * the last has ended.
   */
  readonly ratePerSecond?: number | ((input: StandardSchemaV1.InferOutput<Schema>) => number | undefined);
  /** Virtual users when the job does not say. Default 1. In the open model: the most actions in flight (default 1000). */
  readonly vus?: number | ((input: StandardSchemaV1.InferOutput<Schema>) => number);
  /** How long to start actions, milliseconds. A job may override it. */
  readonly durationMs: number | ((input: StandardSchemaV1.InferOutput<Schema>) => number);
  /** Prepares one shard (an HTTP agent, a login) before the clock starts. */
  setup?(context: WorkflowContext<StandardSchemaV1.InferOutput<Schema>>): Promise<LoadTestAction>;
  /** One action of one virtual user. A rejection counts as an error under the error's name or code. */
  action?: (
    context: WorkflowContext<StandardSchemaV1.InferOutput<Schema>>,
    signal: AbortSignal,
  ) => Promise<unknown>;
}

/** One action of one virtual user, prepared by `setup`. */
export type LoadTestAction = ((signal: AbortSignal) => Promise<unknown>) & {
  /** The same action without a promise, used where there is one: at tens of thousands a second promises count. */
  start?(signal: AbortSignal, onEnd: OnActionEnd): void;
  close?(): Promise<void>;
};

/** To be called once, when an action has ended: without a failure when it went well. */
export type OnActionEnd = (failure?: { readonly error: unknown }) => void;

/** A registered kind of work. Made by `defineWorkflow` or `defineLoadTest`; code stays on the worker, jobs carry the name. */
export interface WorkflowDefinition {
  readonly kind: "workflow" | "load-test";
  readonly name: string;
  readonly description: string;
  readonly input: StandardSchemaV1;
  readonly dependsOn: readonly string[];
  readonly timeoutMs: number;
  readonly maxAttempts: number;
  readonly backoff: Required<BackoffOptions>;
  /** The shard count when it is the same for every input, else undefined. */
  readonly fixedShardCount: number | undefined;
  /**
   * Shards for this input (the schema's output).
   * @throws InvalidInputError when the definition's function gives something outside 1 to 10_000.
   */
  shardCount(input: unknown): number;
  run(context: WorkflowContext<unknown>): Promise<Json | undefined>;
}
