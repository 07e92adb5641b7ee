import type { JobsClient, WatchItem } from "@holdfast/jobs/client";
import type { JobEvent, JobResult, JobStatus, WorkflowResult } from "@holdfast/protocol/contract";
import { isTerminal } from "./terminal.ts";

/**
 * Follows one job as a client does and notes everything that must never be seen: gaps, repeats, a second end,
 * a fence that does not grow, a sum that is not that of its parts.
 */
export class WatchedJob {
  readonly jobId: string;
  readonly violations: string[] = [];
  readonly trace: string[] = [];
  result: JobResult | undefined;
  #lastOffset = 0n;
  #terminal: JobStatus | undefined;
  readonly #parts = new Map<string, Map<string, WorkflowResult>>();
  readonly #fences = new Map<string, bigint>();

  constructor(jobId: string) {
    this.jobId = jobId;
  }

  async follow(client: JobsClient, signal: AbortSignal): Promise<void> {
    for await (const item of client.watch(this.jobId, { signal })) this.#take(item);
  }

  #take(item: WatchItem): void {
    if (item.kind === "connection") return;
    if (item.kind === "reset") {
      this.violations.push(`watch was reset (${item.reason}) although nothing was trimmed`);
      return;
    }
    const offset = BigInt(item.position.offset);
    if (offset !== this.#lastOffset + 1n)
      this.violations.push(`offset ${offset} came after ${this.#lastOffset}`);
    this.#lastOffset = offset;
    this.trace.push(`${offset} ${item.event.type} ${item.event.datacenter ?? ""} ${item.event.at}`);
    if (this.result !== undefined) this.violations.push(`${item.event.type} came after the result`);
    this.#check(item.event);
  }

  #check(event: JobEvent): void {
    if (event.type === "job.leader") {
      const line = `${event.role} ${event.datacenter ?? ""}`;
      const fence = BigInt(event.leader.fence);
      if (fence <= (this.#fences.get(line) ?? 0n))
        this.violations.push(`fence of ${line}went from ${this.#fences.get(line)} to ${fence}`);
      this.#fences.set(line, fence);
    }
    if (event.type === "workflow.result") this.#checkSums(event.result, event.datacenter);
    if (event.datacenter !== undefined) return;
    if (event.type === "job.status" && isTerminal(event.status)) {
      if (this.#terminal !== undefined && this.#terminal !== event.status)
        this.violations.push(`ended ${this.#terminal}, then ${event.status}`);
      this.#terminal = event.status;
    }
    if (event.type === "job.result") {
      this.result = event.result;
      if (this.#terminal !== undefined && this.#terminal !== event.result.status) {
        this.violations.push(`ended ${this.#terminal}, but its result says ${event.result.status}`);
      }
    }
  }

  /** A merged result is the sum of what the datacenters said. */
  #checkSums(result: WorkflowResult, datacenter: string | undefined): void {
    const parts = this.#parts.get(result.workflowId) ?? new Map<string, WorkflowResult>();
    this.#parts.set(result.workflowId, parts);
    if (datacenter !== undefined) {
      if (parts.has(datacenter)) this.violations.push(`${result.name} ended twice in ${datacenter}`);
      parts.set(datacenter, result);
      return;
    }
    const places = Object.entries(result.datacenters ?? {});
    for (const count of ["total", "completed", "failed"] as const) {
      const sum = places.reduce((all, [, { shards }]) => all + shards[count], 0);
      if (places.length > 0 && sum !== result.shards[count])
        this.violations.push(`${result.name} has ${result.shards[count]} shards ${count}, its parts ${sum}`);
    }
    if (places.length < 2 || !places.every(([place]) => parts.has(place))) return;
    for (const [counter, value] of Object.entries(result.totals.counters)) {
      const sum = [...parts.values()].reduce((all, part) => all + (part.totals.counters[counter] ?? 0), 0);
      if (sum !== value) this.violations.push(`${result.name} counted ${value} ${counter}, its parts ${sum}`);
    }
  }
}
