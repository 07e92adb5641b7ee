import { createHandlers } from "@holdfast/connection";
import { ClosedError, randomInt } from "@holdfast/kernel";
import { cancelJob, getCluster, getJob, listJobs } from "@holdfast/protocol/contract";
import { type ClientOptions, resolveClientOptions } from "./client-options.ts";
import { awaitResult } from "./job-result.ts";
import { type WatchParts, watchJob } from "./job-watch.ts";
import type { JobsClient } from "./jobs-client.ts";
import { NodeLinks } from "./node-links.ts";
import { pingAll } from "./node-pings.ts";
import { RequestRouter } from "./request-router.ts";
import { Submitter } from "./submitter.ts";
import { Subscriptions } from "./subscriptions.ts";
import { TargetSelector } from "./target-selector.ts";
import { TrackedJobs } from "./tracked-jobs.ts";

/**
 * A client of the gates, or of the managers where there are no gates. Opens its first connection with the
 * first call.
 * @throws InvalidInputError naming the option that is not acceptable.
 */
export const createClient = (options: ClientOptions): JobsClient => {
  const resolved = resolveClientOptions(options);
  const { gates, managers, random, clock } = resolved;
  const closing = new AbortController();
  const handlers = createHandlers();
  const subscriptions = new Subscriptions(handlers, random);
  const links = new NodeLinks(resolved, handlers);
  const selector = new TargetSelector({
    gates,
    managers,
    startAt: randomInt(random, Math.max(gates.length, managers.length, 1)),
  });
  const router = new RequestRouter(resolved, links, selector);
  const tracked = new TrackedJobs();
  const submitter = new Submitter(resolved, router, tracked);
  const parts: WatchParts = { options: resolved, router, subscriptions, closed: closing.signal };

  const close = async (): Promise<void> => {
    if (!closing.signal.aborted) closing.abort(new ClosedError("the jobs client"));
    await links.close();
  };

  return {
    submit: (request) => submitter.submit(request),
    get: async (jobId, { signal } = {}) => (await router.ask(getJob, { jobId }, { jobId, signal })).output,
    list: async ({ signal, ...filter } = {}) =>
      (
        await router.ask(
          listJobs,
          { ...filter, statuses: filter.statuses && [...filter.statuses] },
          { signal },
        )
      ).output,
    cancel: async (jobId, { signal, ...request } = {}) => {
      const { output } = await router.ask(cancelJob, { jobId, ...request }, { jobId, signal });
      return { outcome: output.outcome, status: output.status };
    },
    watch: (jobId, request = {}) => watchJob(parts, jobId, request),
    result: (jobId, request = {}) => awaitResult({ ...parts, tracked }, jobId, request),
    cluster: async ({ signal } = {}) => (await router.ask(getCluster, {}, { signal })).output,
    ping: (request = {}) => pingAll(links, clock, selector.all(), request),
    close,
    [Symbol.asyncDispose]: close,
  };
};
