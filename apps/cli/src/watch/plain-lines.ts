import type { JobEvent } from "@holdfast/protocol/contract";
import { formatCount, formatDuration, oneLine } from "../terminal/format.ts";

/** One line per event, for pipes and log files: time, where, what. Pure. Undefined for events that say nothing new. */
export const renderPlainLine = (event: JobEvent, names: ReadonlyMap<string, string>): string | undefined => {
  const line = lineOf(event, names);
  return line === undefined ? undefined : oneLine(line);
};

const lineOf = (event: JobEvent, names: ReadonlyMap<string, string>): string | undefined => {
  const where = event.datacenter === undefined ? "" : ` [${event.datacenter}]`;
  const at = new Date(event.at).toISOString();
  const workflow = (id: string): string => names.get(id) ?? id;
  switch (event.type) {
    case "job.status":
      return `${at}${where} job ${event.status}${event.error === undefined ? "" : `: ${event.error.message}`}`;
    case "job.leader":
      return `${at}${where} ${event.role} ${event.leader.nodeId} leads with fence ${event.leader.fence}${
        event.previous === undefined ? "" : ` (took over from ${event.previous})`
      }`;
    case "job.placement":
      return `${at} placed in ${event.datacenters.join(", ")}`;
    case "workflow.status":
      return `${at}${where} ${event.name} ${event.status} (${event.shards.completed}/${event.shards.total} shards)${
        event.error === undefined ? "" : `: ${event.error.message}`
      }`;
    case "shard.retry":
      return `${at}${where} ${workflow(event.workflowId)} shard ${event.shard} attempt ${event.attempt} on ${event.worker}: ${event.error.message}`;
    case "window": {
      const total = event.progress.total > 0 ? ` of ${formatCount(event.progress.total)}` : "";
      const latency = event.histograms["latency"];
      const percentiles =
        latency === undefined || latency.count === 0
          ? ""
          : ` p50 ${formatDuration(latency.p50)} p95 ${formatDuration(latency.p95)} p99 ${formatDuration(latency.p99)}`;
      return `${at}${where} ${workflow(event.workflowId)} ${formatCount(event.progress.done)}${total} done, ${event.shards.running} shards running${percentiles}`;
    }
    case "log":
      return `${at}${where} ${workflow(event.workflowId)} #${event.shard} ${event.level}: ${event.message}`;
    case "workflow.result":
      return `${at}${where} ${event.result.name} ${event.result.status} in ${formatDuration(event.result.elapsedMs)}`;
    case "job.result":
      return event.datacenter === undefined
        ? `${at} result ${event.result.status} in ${formatDuration(event.result.elapsedMs)}`
        : undefined;
    default:
      return undefined;
  }
};
