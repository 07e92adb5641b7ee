import { cancelJob, getCluster, getJob, listJobs } from "@holdfast/protocol/contract";
import { Caller } from "../caller/caller.ts";
import { type ClientOptions, resolveClientOptions } from "./client-options.ts";
import { awaitResult } from "./job-result.ts";
import type { JobsClient } from "./jobs-client.ts";
import { pingAll } from "./node-pings.ts";
import { runJob } from "./run-job.ts";
import { Submitter } from "./submitter.ts";
import { TrackedJobs } from "./tracked-jobs.ts";

/**
 * A client of the gates, or of the managers where there are no gates. Opens its first connection with the
 * first call.
 * @throws InvalidInputError naming the option that is not acceptable.
 */
export const createClient = (options: ClientOptions): JobsClient => {
  const resolved = resolveClientOptions(options);
  const caller = new Caller(resolved);
  const tracked = new TrackedJobs();
  const submitter = new Submitter(resolved, caller, tracked);

  return {
    submit: (request) => submitter.submit(request),
    run: (request) => runJob(caller, tracked, submitter, request),
    get: async (jobId, { signal } = {}) => (await caller.ask(getJob, { jobId }, { jobId, signal })).output,
    list: async ({ signal, statuses, ...filter } = {}) => {
      const wanted = statuses === undefined ? filter : { ...filter, statuses: [...statuses] };
      return (await caller.ask(listJobs, wanted, { signal })).output;
    },
    cancel: async (jobId, { signal, ...request } = {}) => {
      const { output } = await caller.ask(cancelJob, { jobId, ...request }, { jobId, signal });
      return { outcome: output.outcome, status: output.status };
    },
    watch: (jobId, request = {}) => caller.follow(jobId, request),
    result: (jobId, request = {}) => awaitResult(caller, tracked, jobId, request),
    cluster: async ({ signal } = {}) => (await caller.ask(getCluster, {}, { signal })).output,
    ping: (request = {}) => pingAll(caller.links, resolved.clock, caller.selector.all(), request),
    stats: () => ({ ...caller.counters.counts, trackedJobs: caller.selector.rememberedCount }),
    close: () => caller.close(),
    [Symbol.asyncDispose]: () => caller.close(),
  };
};
