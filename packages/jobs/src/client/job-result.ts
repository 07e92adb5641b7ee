import { childController, hasCode, withTimeout } from "@holdfast/kernel";
import { getJob, getResult, type JobResult, type JobStatus } from "@holdfast/protocol/contract";
import type { Caller } from "../caller/caller.ts";
import { isTransient } from "../caller/transient.ts";
import { TERMINAL_STATUSES } from "../model/job-table.ts";
import type { TrackedJobs } from "./tracked-jobs.ts";

/** A job submitted by this client no longer ago than this is watched from its first event, without asking for its state. */
const FRESH_MS = 10_000;
/** The safety net below the watch: asked after this long, then ever more rarely. */
const POLL_MIN_MS = 5_000;
const POLL_MAX_MS = 60_000;

/**
 * Waits for the final result of a job: from its events, and in case they fail us by asking now and then.
 * @throws TimeoutError after `timeoutMs`; the job goes on.
 */
export const awaitResult = (
  caller: Caller,
  tracked: TrackedJobs,
  jobId: string,
  request: { readonly signal?: AbortSignal | undefined; readonly timeoutMs?: number },
): Promise<JobResult> => {
  const { clock } = caller.options;
  if (request.timeoutMs === undefined) return resultOf(caller, tracked, jobId, request.signal);
  const operation = `the result of job ${jobId}`;
  return withTimeout(clock, { operation, timeoutMs: request.timeoutMs, signal: request.signal }, (signal) =>
    resultOf(caller, tracked, jobId, signal),
  );
};

const resultOf = async (
  caller: Caller,
  tracked: TrackedJobs,
  jobId: string,
  callerSignal: AbortSignal | undefined,
): Promise<JobResult> => {
  const { options } = caller;
  const scope = childController(callerSignal, caller.closed);
  const { signal } = scope;
  const ask = async (): Promise<JobResult | undefined> =>
    (await caller.ask(getResult, { jobId }, { jobId, signal })).output.result;

  const poll = async (firstMs: number): Promise<JobResult> => {
    for (let waitMs = firstMs; ; waitMs = Math.min(waitMs * 2, POLL_MAX_MS)) {
      await options.clock.sleep(waitMs, { signal });
      const result = await ask().catch((error: unknown) => {
        if (signal.aborted || !isTransient(error)) throw error;
        return undefined;
      });
      if (result !== undefined) return result;
    }
  };

  const startOf = async () => {
    const known = tracked.get(jobId);
    if (known !== undefined && options.clock.monotonicNow() - known.at <= FRESH_MS) return known.position;
    const { output } = await caller.ask(getJob, { jobId }, { jobId, signal });
    const isTerminal = (TERMINAL_STATUSES as readonly JobStatus[]).includes(output.status);
    return isTerminal ? undefined : output.head;
  };

  const fromWatch = async (): Promise<JobResult> => {
    const after = await startOf();
    if (after !== undefined) {
      for await (const item of caller.follow(jobId, { after, signal })) {
        if (item.kind !== "event" || item.event.type !== "job.result") continue;
        if (item.event.datacenter === undefined) return item.event.result;
      }
    }
    // The job has ended before the position: its result is stored.
    return (await ask()) ?? (await poll(POLL_MIN_MS / 10));
  };

  const polled = poll(POLL_MIN_MS).catch((error: unknown) => {
    // The watch says it better when the job is unknown or we are closed.
    if (signal.aborted || hasCode(error, "JOBS_NOT_FOUND")) return new Promise<never>(() => undefined);
    throw error;
  });
  try {
    const result = await Promise.race([fromWatch(), polled]);
    tracked.delete(jobId);
    return result;
  } finally {
    scope.abort(new Error("the result is known"));
    scope.dispose();
  }
};
