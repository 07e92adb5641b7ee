import type { Peer, RequestContext } from "@holdfast/connection";
import { silentLogger } from "@holdfast/kernel";
import { cancelJob, getJob } from "@holdfast/protocol/contract";
import { expect, it } from "vitest";
import type { NodeLinks } from "../caller/node-links.ts";
import { GatePeers } from "./gate-peers.ts";
import { JobQueries, type JobQueriesOptions } from "./job-queries.ts";

/** What an asker may say of its wait, and how long a gate and a datacenter are waited for then. */
const WAITS: readonly (readonly [saidMs: number, gateMs: number, datacenterMs: number])[] = [
  [Number.NaN, 5_000, 60_000],
  [Number.POSITIVE_INFINITY, 5_000, 60_000],
  [1e300, 5_000, 60_000],
  [10_000, 5_000, 9_500],
  [3_000, 2_500, 2_500],
  [0, 100, 100],
  [Number.NEGATIVE_INFINITY, 100, 100],
];

const contextOf = (timeoutMs: number): RequestContext => ({
  peer: { remote: { role: "client" } } as unknown as Peer,
  timeoutMs,
  signal: new AbortController().signal,
});

it.each(
  WAITS,
)("an asker that says it waits %d ms has the leading gate waited for %d ms", async (saidMs, gateMs) => {
  const waits: number[] = [];
  const peer = {
    request: async (_definition: unknown, _input: unknown, options: { readonly timeoutMs: number }) => {
      waits.push(options.timeoutMs);
      return {};
    },
  };
  const peers = new GatePeers({
    links: { get: async () => peer } as unknown as NodeLinks,
    logger: silentLogger,
    self: { nodeId: "gate-1", address: "gate-1:7401" },
  });
  const leader = { nodeId: "gate-2", address: "gate-2:7401", fence: "1" };
  await peers.ask(leader, getJob, { jobId: "job-1" }, contextOf(saidMs));
  expect(waits).toEqual([gateMs]);
});

it.each(
  WAITS.map(([saidMs, , datacenterMs]) => [saidMs, datacenterMs] as const),
)("an asker that says it waits %d ms has a datacenter waited for %d ms", async (saidMs, datacenterMs) => {
  const waits: unknown[] = [];
  const caller = {
    ask: async (_definition: unknown, _input: unknown, options: { readonly deadlineMs: number }) => {
      waits.push(options.deadlineMs);
      return { output: { outcome: "cancelling", cancelledWorkflows: 1 } };
    },
  };
  const job = {
    jobId: "job-1",
    status: "running",
    spec: { workflows: [{ id: "wf-1" }] },
    parts: [{ datacenter: "east", phase: "accepted" }],
  };
  const queries = new JobQueries({
    book: { get: () => ({ job }) },
    datacenters: new Map([["east", { caller }]]),
  } as unknown as JobQueriesOptions);
  const input = cancelJob.input.parse({ jobId: "job-1", workflowId: "wf-1" });
  expect(await queries.cancel(input, contextOf(saidMs))).toMatchObject({ outcome: "cancelling" });
  expect(waits).toEqual([datacenterMs]);
});
