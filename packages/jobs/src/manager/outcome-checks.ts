import type { Json } from "@holdfast/coordination";
import { checkPlainJson, isHoldfastError, toWireError, type WireError } from "@holdfast/kernel";
import type { TaskOutcome } from "@holdfast/protocol/contract";
import { InvalidOutcomeError } from "../errors.ts";
import { approximateBytes } from "../model/approximate-bytes.ts";
import { MeasurementSum } from "../model/measurements.ts";
import { isNestedDeeper, NESTING_MAX_LEVELS } from "../model/nesting.ts";
import { shardTaskId } from "../model/shard-task.ts";
import type { CompletedOutcome, FailedOutcome } from "./changes.ts";
import { isGrantable } from "./grantable-claim.ts";
import type { LedJob } from "./led-job.ts";
import type { ShardResult } from "./shard-results.ts";

/** What a shard may leave behind; the store takes 4 MiB, and a sum of sizes is only about right. */
const RESULT_MAX_BYTES = 3 * 1024 * 1024;
/** Below this no text can be over the limit, whatever its characters take. */
const SURELY_FITS_BYTES = RESULT_MAX_BYTES / 4;
/** Of what an error tells besides its message; it goes into an event, the job's row and its result, beside many others. */
const DETAILS_MAX_BYTES = 16 * 1024;

/**
 * A worker's report as a change of the job, or undefined when its ids do not belong together. A completion
 * whose result cannot be stored or merged becomes a failure that no further attempt can help, and of a failure
 * details that cannot be stored are left out: in the batch it would hold up what others report beside it.
 */
export const toOutcomeChange = (
  outcome: TaskOutcome,
  worker: string,
  job: LedJob,
): CompletedOutcome | FailedOutcome | undefined => {
  const workflowIndex = job.state.indexById.get(outcome.workflowId);
  if (workflowIndex === undefined) return undefined;
  const workflow = job.state.workflows[workflowIndex];
  const group = job.groups[workflowIndex];
  if (workflow === undefined || group === undefined || !workflow.results.has(outcome.shard)) return undefined;
  if (outcome.taskId !== shardTaskId(group, outcome.shard)) return undefined;
  const token = BigInt(outcome.token);
  if (!isGrantable({ id: outcome.taskId, token })) return undefined;
  const base = {
    jobId: job.jobId,
    taskId: outcome.taskId,
    token,
    workflowIndex,
    shard: outcome.shard,
    worker,
  };
  if (outcome.kind === "failed") {
    const error = storableError(outcome.error as WireError);
    // If the job is over, the queue knows. If not, the worker stopped on the word of a leader whose cancel was never
    // stored, and the shard has to run.
    const wasStopped = error.code === "JOBS_SHARD_CANCELLED";
    return {
      ...base,
      kind: "failed",
      error,
      retry: wasStopped || outcome.retry,
      uncounted: wasStopped || outcome.uncounted,
    };
  }
  const result: ShardResult = {
    output: (outcome.output ?? null) as Json,
    totals: outcome.totals,
    progress: outcome.progress,
  };
  const fault = faultOf(result);
  if (fault === undefined) return { ...base, kind: "completed", result };
  const error = toWireError(
    new InvalidOutcomeError(`shard ${outcome.shard} of ${workflow.spec.name}`, fault),
  );
  return { ...base, kind: "failed", error, retry: false, uncounted: false };
};

const faultOf = (result: ShardResult): string | undefined => {
  const loss = lossIn("its output", result.output);
  if (loss !== undefined) return loss;
  if (approximateBytes(result) > SURELY_FITS_BYTES) {
    const sizeBytes = Buffer.byteLength(JSON.stringify(result));
    if (sizeBytes > RESULT_MAX_BYTES) {
      return `its output and measurements have ${sizeBytes} bytes, the limit is ${RESULT_MAX_BYTES}`;
    }
  }
  for (const _name in result.totals.histograms) {
    // Reading them once here keeps what cannot be merged out of the store.
    try {
      new MeasurementSum().add(result.totals);
    } catch (error) {
      if (!isHoldfastError(error)) throw error;
      return error.message;
    }
    break;
  }
  return undefined;
};

/**
 * The wire carries what no store keeps: big integers, bytes, NaN. What is nested too deep comes here, and then fits no
 * event and no assignment of a dependent workflow.
 */
const lossIn = (what: string, value: unknown): string | undefined => {
  try {
    checkPlainJson(what, value);
    return isNestedDeeper(value, NESTING_MAX_LEVELS)
      ? `${what} must be nested at most ${NESTING_MAX_LEVELS} levels deep`
      : undefined;
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
    return error.message;
  }
};

const storableError = (error: WireError): WireError => {
  const { details } = error;
  if (details === undefined) return error;
  const fault = lossIn("details", details) ?? sizeFaultOf(details);
  return fault === undefined ? error : { ...error, details: { leftOut: fault } };
};

const sizeFaultOf = (details: object): string | undefined => {
  // A text may take four times as many bytes as it is long.
  if (approximateBytes(details) * 4 <= DETAILS_MAX_BYTES) return undefined;
  const sizeBytes = Buffer.byteLength(JSON.stringify(details));
  return sizeBytes > DETAILS_MAX_BYTES
    ? `details have ${sizeBytes} bytes, the limit is ${DETAILS_MAX_BYTES}`
    : undefined;
};
