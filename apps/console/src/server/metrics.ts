import type { JobsClient } from "@holdfast/jobs/client";
import type { FastifyInstance } from "fastify";
import { collectDefaultMetrics, Gauge, Registry } from "prom-client";
import { allows, bearerToken, type TokenCheck } from "./authorization.ts";

let processMetrics: Registry | undefined;

/**
 * Of this process, whose they are however many consoles it opens: what counts its collections of garbage and the delays
 * of its loop cannot be taken back, so each console of its own would leave them behind.
 */
const metricsOfProcess = (): Registry => {
  if (processMetrics === undefined) {
    processMetrics = new Registry();
    collectDefaultMetrics({ register: processMetrics });
  }
  return processMetrics;
};

/** Prometheus text at `/metrics`: this process, and the cluster as the gate sees it at the time of the scrape. */
export const registerMetrics = (
  app: FastifyInstance,
  options: { readonly client: JobsClient; readonly authenticate: TokenCheck },
): void => {
  const registry = new Registry();
  const ofProcess = metricsOfProcess();
  const gauge = (name: string, help: string): Gauge =>
    new Gauge({ name, help, labelNames: ["datacenter"], registers: [registry] });
  const cores = gauge("holdfast_cores", "Cores of the connected workers");
  const availableCores = gauge("holdfast_cores_available", "Cores that are free now");
  const workers = gauge("holdfast_workers", "Connected workers");
  const activeJobs = gauge("holdfast_jobs_active", "Jobs that are not finished");
  const pendingTasks = gauge("holdfast_tasks_pending", "Shards that wait for a worker");
  app.get("/metrics", async (request, reply) => {
    if (!allows(options.authenticate, bearerToken(request.headers.authorization), "read"))
      return reply.code(401).send('a token with the scope "read" is needed\n');
    try {
      const cluster = await options.client.cluster({ signal: AbortSignal.timeout(5_000) });
      for (const metric of [cores, availableCores, workers, activeJobs, pendingTasks]) metric.reset();
      for (const dc of cluster.datacenters) {
        cores.set({ datacenter: dc.datacenter }, dc.totalCores);
        availableCores.set({ datacenter: dc.datacenter }, dc.availableCores);
        workers.set({ datacenter: dc.datacenter }, dc.workers.length);
        activeJobs.set({ datacenter: dc.datacenter }, dc.activeJobs);
        pendingTasks.set({ datacenter: dc.datacenter }, dc.pendingTasks);
      }
    } catch {
      // Without the gate the process metrics are still worth a scrape; the cluster's are absent, not zero.
      for (const metric of [cores, availableCores, workers, activeJobs, pendingTasks]) metric.reset();
    }
    const texts = await Promise.all([ofProcess.metrics(), registry.metrics()]);
    return reply.header("content-type", registry.contentType).send(texts.join("\n"));
  });
};
