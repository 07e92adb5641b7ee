import { withTimeout } from "@holdfast/kernel";
import type { JobResult } from "@holdfast/protocol/contract";
import type { Caller } from "../caller/caller.ts";
import { ResultWait } from "../caller/result-wait.ts";
import { awaitResult } from "./job-result.ts";
import type { SubmitOptions } from "./jobs-client.ts";
import type { Submitter } from "./submitter.ts";
import type { TrackedJobs } from "./tracked-jobs.ts";

/** A push may be lost with no sign of it (a proxy, a node that hangs): after this long the ordinary wait takes over. */
const PUSH_TRUSTED_MS = 30_000;

/** Submits, and takes the result from the push of the node that took the job; whatever goes wrong with that, from a watch. */
export const runJob = async (
  caller: Caller,
  tracked: TrackedJobs,
  submitter: Submitter,
  request: SubmitOptions & { readonly timeoutMs?: number | undefined },
): Promise<JobResult> => {
  const { timeoutMs, ...options } = request;
  const wait = new ResultWait();
  const subscriptionId = caller.subscribe(wait);
  try {
    const { job, followedAt } = await submitter.submitAndFollow(options, subscriptionId);
    const { jobId } = job;
    const resultOf = async (signal: AbortSignal | undefined): Promise<JobResult> => {
      const pushed = followedAt === undefined ? undefined : await pushedResult();
      if (pushed !== undefined) return pushed;
      return awaitResult(caller, tracked, jobId, { signal });
    };
    const pushedResult = async (): Promise<JobResult | undefined> => {
      const giveUp = (): void => wait.giveUp();
      const stopListening = followedAt?.onClose(giveUp);
      const timer = caller.options.clock.schedule(PUSH_TRUSTED_MS, giveUp);
      request.signal?.addEventListener("abort", giveUp, { once: true });
      try {
        const result = await wait.result;
        if (result !== undefined) tracked.delete(jobId);
        return result;
      } finally {
        stopListening?.();
        timer.cancel();
        request.signal?.removeEventListener("abort", giveUp);
      }
    };
    if (timeoutMs === undefined) return await resultOf(request.signal);
    const operation = `the result of job ${jobId}`;
    return await withTimeout(
      caller.options.clock,
      { operation, timeoutMs, signal: request.signal },
      resultOf,
    );
  } finally {
    caller.unsubscribe(subscriptionId);
  }
};
