import { createHandlers, type Peer } from "@holdfast/connection";
import {
  followJob,
  getJob,
  getResult,
  type JobEvent,
  type JobSpecInput,
  type JobView,
  jobEvents,
  submitJob,
} from "@holdfast/protocol/contract";
import type { Manager } from "../../src/manager/index.ts";
import type { Cluster } from "./cluster.ts";

type WorkflowInput = Partial<JobSpecInput["workflows"][number]> & { readonly name: string };

/** A client of one manager that keeps every event it was pushed. */
export class ScriptedClient {
  readonly events: JobEvent[] = [];
  readonly ended = new Set<string>();
  readonly #cluster: Cluster;
  #peer: Peer | undefined;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  get peer(): Peer {
    if (this.#peer === undefined) throw new Error("the client is not connected");
    return this.#peer;
  }

  async attach(manager: Manager): Promise<void> {
    const handlers = createHandlers();
    handlers.onPush(jobEvents, ({ jobId, events, end }) => {
      for (const { event } of events) if (event.type !== "later") this.events.push(event);
      if (end) this.ended.add(jobId);
    });
    this.#peer = await this.#cluster.connect(manager.address, { nodeId: "", role: "client" }, handlers);
  }

  /** Submits a job; the workflows' ids are `wf-<name>`. */
  async submit(
    workflows: readonly WorkflowInput[],
    change: Partial<Omit<JobSpecInput, "workflows">> & {
      readonly jobId?: string;
      readonly idempotencyKey?: string;
      readonly gate?: { readonly nodeId: string; readonly address: string; readonly fence: string };
      readonly dryRun?: boolean;
    } = {},
  ) {
    const { jobId = this.#cluster.nextJobId(), idempotencyKey, gate, dryRun, ...spec } = change;
    const request = this.peer.request(submitJob, {
      jobId,
      idempotencyKey: idempotencyKey ?? `key-${jobId}`,
      spec: {
        name: "test job",
        ...spec,
        workflows: workflows.map((workflow) => ({
          id: `wf-${workflow.name}`,
          workflow: "noop",
          input: {},
          ...workflow,
        })),
      },
      ...(gate === undefined ? {} : { gate }),
      ...(dryRun === undefined ? {} : { dryRun }),
    });
    return this.#cluster.run(request);
  }

  async follow(jobId: string, after?: { readonly epoch: string; readonly offset: string }) {
    const request = { jobId, subscriptionId: jobId, ...(after === undefined ? {} : { after }) };
    return this.#cluster.run(this.peer.request(followJob, request));
  }

  get(jobId: string): Promise<JobView> {
    return this.#cluster.run(this.peer.request(getJob, { jobId }));
  }

  async result(jobId: string) {
    return (await this.#cluster.run(this.peer.request(getResult, { jobId }))).result;
  }

  /** Lets time pass until the job has a result. */
  async finished(jobId: string) {
    let result = await this.result(jobId);
    await this.#cluster.until(async () => {
      result = await this.result(jobId);
      return result !== undefined;
    });
    if (result === undefined) throw new Error("no result");
    return result;
  }

  types(): readonly string[] {
    return this.events.map((event) =>
      event.type === "job.status" || event.type === "workflow.status"
        ? `${event.type}:${event.status}`
        : event.type,
    );
  }
}
