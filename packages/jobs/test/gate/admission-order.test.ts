import { connect, createHandlers } from "@holdfast/connection";
import { type HoldfastError, isHoldfastError, seededRandom } from "@holdfast/kernel";
import { JOB_MAX_BYTES, type JobSpecInput, submitJob } from "@holdfast/protocol/contract";
import type { OverloadLevel } from "@holdfast/resilience";
import { expect, it } from "vitest";
import { UnknownWorkflowError } from "../../src/errors.ts";
import { settle } from "../settle.ts";
import { setup } from "./gate-setup.ts";

it("checks a submission in one order, what costs least first, and says by code what is wrong and when to come back", async () => {
  const load: { level: OverloadLevel } = { level: "healthy" };
  await using t = await setup({
    gate: { load, rateLimits: { job_submit: { limit: 1, windowMs: 10_000 } } },
  });
  t.east.onDryRun = async ({ spec }) => {
    const [first] = spec.workflows;
    if (first?.workflow === "unheard-of") throw new UnknownWorkflowError("unheard-of", ["w"]);
  };
  const peerOf = (nodeId: string) =>
    settle(
      t.clock,
      connect({
        address: t.gate.address,
        transport: t.transport,
        clock: t.clock,
        random: seededRandom(5),
        handlers: createHandlers(),
        identity: { nodeId, role: "client" },
      }),
    );
  const good: JobSpecInput = {
    name: "n",
    workflows: [{ id: "wf-1", name: "a", workflow: "w", input: {} }],
  };
  const greedy = await peerOf("greedy");
  const send = async (client: string, jobId: string, spec: JobSpecInput) => {
    const peer = client === "greedy" ? greedy : await peerOf(client);
    const answer = peer.request(submitJob, { jobId, idempotencyKey: "one key", spec });
    const outcome = await settle(
      t.clock,
      answer.then(
        () => undefined,
        (error: unknown) => error,
      ),
    );
    if (peer !== greedy) await settle(t.clock, peer.close());
    if (outcome !== undefined && !isHoldfastError(outcome)) throw outcome;
    return outcome as HoldfastError | undefined;
  };
  expect(await send("greedy", "job-0", good)).toBe(undefined);

  // Everything is wrong with it; one fault after the other is taken away.
  const [workflow] = good.workflows;
  if (workflow === undefined) return;
  let spec: JobSpecInput = {
    ...good,
    workflows: [{ ...workflow, workflow: "unheard-of", input: "x".repeat(JOB_MAX_BYTES), dependsOn: ["a"] }],
    reporting: [{ type: "carrier-pigeon" }],
    datacenters: ["mars"],
  };
  const change = (more: Partial<typeof workflow>): JobSpecInput => ({
    ...spec,
    workflows: spec.workflows.map((one) => ({ ...one, ...more })),
  });
  load.level = "overloaded";
  const refusals: (HoldfastError | undefined)[] = [await send("greedy", "job-1", spec)];
  load.level = "healthy";
  refusals.push(await send("greedy", "job-1", spec));
  refusals.push(await send("client-a", "job-1", spec));
  spec = change({ dependsOn: [] });
  refusals.push(await send("client-b", "job-1", spec));
  spec = change({ input: {} });
  refusals.push(await send("client-c", "job-1", spec));
  spec = { ...spec, reporting: [] };
  refusals.push(await send("client-d", "job-1", spec));
  spec = { ...spec, datacenters: [] };
  refusals.push(await send("client-e", "job-1", spec));
  spec = change({ workflow: "w", input: { other: true } });
  refusals.push(await send("client-f", "job-1", spec));

  expect(refusals.map((error) => [error?.code, error?.details["field"] ?? "", error?.retryable])).toEqual([
    ["RESILIENCE_LOAD_SHED", "", true],
    ["JOBS_RATE_LIMITED", "", true],
    ["KERNEL_INVALID_INPUT", "workflows.dependsOn", false],
    ["JOBS_TOO_LARGE", "", false],
    ["KERNEL_INVALID_INPUT", "reporting[0].type", false],
    ["KERNEL_INVALID_INPUT", "spec.datacenters", false],
    ["JOBS_UNKNOWN_WORKFLOW", "", false],
    ["JOBS_IDEMPOTENCY_CONFLICT", "", false],
  ]);
  for (const error of refusals.slice(0, 2)) expect(error?.retryAfterMs).toBeGreaterThan(0);
  for (const error of refusals.slice(2)) expect(error?.retryAfterMs).toBe(undefined);
  await settle(t.clock, greedy.close());
  expect([...t.east.jobs.keys()]).toEqual(["job-0"]);
});
