import type { Json } from "@holdfast/coordination";
import type { SqlExecutor } from "@holdfast/coordination/postgres";
import { type Clock, checkPlainJson, type HoldfastError, InvalidInputError } from "@holdfast/kernel";
import type { Assignment } from "@holdfast/protocol/contract";
import { InvalidOutputError, InvalidWorkflowInputError, WorkerHasNoDatabaseError } from "../errors.ts";
import { isNestedDeeper, NESTING_MAX_LEVELS } from "../model/nesting.ts";
import { checkInput } from "../model/registry.ts";
import type { WorkflowContext, WorkflowDefinition } from "../model/workflow.ts";
import { ShardReport } from "./shard-report.ts";

/** The database as one shard sees it. */
export interface ShardDatabase {
  readonly sql: SqlExecutor;
  effect<T extends Json>(name: string, body: (tx: SqlExecutor) => Promise<T>): Promise<T>;
}

export interface ShardRunOptions {
  readonly definition: WorkflowDefinition;
  readonly assignment: Assignment;
  readonly clock: Clock;
  readonly nodeId: string;
  /** Undefined: `effect` and `sql` fail with WorkerHasNoDatabaseError. */
  readonly database: ShardDatabase | undefined;
  /** Asks whoever watches over the attempt for more time; the milliseconds granted. */
  readonly extend: (done: number) => Promise<number>;
}

/** One attempt of one shard in this very thread. */
export interface ShardRun {
  readonly report: ShardReport;
  /** The output, as JSON; rejects with what the workflow threw. */
  readonly output: Promise<Json>;
  stop(reason: HoldfastError): void;
}

/** What `run` may return, encoded. Stated on `WorkflowOptions.run`. */
const OUTPUT_MAX_BYTES = 1024 * 1024;
const EFFECT_NAME_MAX_CHARACTERS = 256;

/** Starts the attempt at once; the input is checked by the schema first. */
export const startShardRun = (options: ShardRunOptions): ShardRun => {
  const { definition, assignment } = options;
  const controller = new AbortController();
  const report = new ShardReport(options.clock);
  const run = async (): Promise<Json> => {
    const check = await checkInput(definition, assignment.input);
    if (check.kind === "invalid") throw new InvalidWorkflowInputError(definition.name, check.issues);
    controller.signal.throwIfAborted();
    const output = await definition.run(
      contextOf(options, { input: check.value, signal: controller.signal, report }),
    );
    return checkedOutput(definition.name, output);
  };
  return { report, output: run(), stop: (reason) => controller.abort(reason) };
};

const contextOf = (
  { assignment, clock, nodeId, database, extend }: ShardRunOptions,
  run: { readonly input: unknown; readonly signal: AbortSignal; readonly report: ShardReport },
): WorkflowContext<unknown> => {
  const { report, signal } = run;
  const noDatabase = async (): Promise<never> => {
    throw new WorkerHasNoDatabaseError(nodeId);
  };
  return Object.freeze<WorkflowContext<unknown>>({
    input: run.input,
    jobId: assignment.jobId,
    name: assignment.name,
    shard: assignment.shard,
    shardCount: assignment.shardCount,
    attempt: assignment.attempt,
    datacenter: assignment.datacenter,
    vus: assignment.vus,
    durationMs: assignment.durationMs,
    timeoutMs: assignment.timeoutMs,
    clock,
    signal,
    fence: BigInt(assignment.token),
    idempotencyKey: assignment.taskId,
    log: report.log,
    progress: (done, total) => report.setProgress(done, total),
    extendTimeout: () => extend(report.progress.done),
    count: (name, amount) => report.count(name, amount),
    record: (name, value) => report.record(name, value),
    dependencies: assignment.dependencies as WorkflowContext<unknown>["dependencies"],
    effect: async (name, body) => {
      signal.throwIfAborted();
      if (typeof name !== "string" || name === "" || name.length > EFFECT_NAME_MAX_CHARACTERS) {
        throw new InvalidInputError(
          "effect name",
          name,
          `a text of 1 to ${EFFECT_NAME_MAX_CHARACTERS} characters`,
        );
      }
      return database === undefined ? noDatabase() : database.effect(name, body);
    },
    sql: database?.sql ?? { query: noDatabase },
  });
};

/** The output as plain JSON: what JSON would lose without a word (a map, an error, a function) is refused by path and kind. */
const checkedOutput = (workflow: string, output: unknown): Json => {
  if (output === undefined || output === null) return null;
  const text = encodedOutput(workflow, output);
  const sizeBytes = Buffer.byteLength(text);
  if (sizeBytes > OUTPUT_MAX_BYTES) {
    throw new InvalidOutputError(
      workflow,
      `has ${sizeBytes} bytes, the limit is ${OUTPUT_MAX_BYTES}: store large results elsewhere and return where they are`,
    );
  }
  const json = JSON.parse(text) as Json;
  if (isNestedDeeper(json, NESTING_MAX_LEVELS)) {
    throw new InvalidOutputError(
      workflow,
      `is nested deeper than ${NESTING_MAX_LEVELS} levels: return a list of rows with references instead`,
    );
  }
  return json;
};

const encodedOutput = (workflow: string, output: unknown): string => {
  try {
    checkPlainJson("output", output);
    return JSON.stringify(output);
  } catch (cause) {
    const why = cause instanceof InvalidInputError ? cause.message : "it cannot be encoded";
    const details = cause instanceof InvalidInputError ? { field: cause.field } : {};
    throw new InvalidOutputError(workflow, `is not JSON: ${why}`, { cause, details });
  }
};
