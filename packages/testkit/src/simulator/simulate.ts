import { createHash } from "node:crypto";
import { setMaxListeners } from "node:events";
import { type Logger, seededRandom } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { type ClusterShape, defaultShape, SimulatedCluster } from "./cluster.ts";
import { injectFaults } from "./fault-plan.ts";
import { SimulatedNetwork } from "./simulated-network.ts";
import { WatchedJob } from "./watched-job.ts";
import { type PlannedJob, planJobs, simulatedWorkflows } from "./workload.ts";

export interface SimulationOptions {
  /** The same seed gives the same run. */
  readonly seed: number;
  /** How long things break, virtual milliseconds. Default 60_000; 0 breaks nothing. */
  readonly faultsForMs?: number;
  /** How long everything may take to come to its end once healed, virtual milliseconds. Default 600_000. */
  readonly settleMs?: number;
  /** Default 8. */
  readonly jobCount?: number;
  readonly shape?: ClusterShape;
  readonly logger?: Logger;
}

export interface SimulationRun {
  readonly virtualMs: number;
  /** Frames delivered and log entries seen. */
  readonly events: number;
  readonly faults: number;
  /** What must never happen and did; empty is good. */
  readonly violations: readonly string[];
  /** A digest of everything that clients saw: equal for equal seeds. */
  readonly fingerprint: string;
}

/**
 * Runs the whole cluster in this process on a virtual clock, breaks it at random from the seed, heals it, and
 * checks that every accepted job came to exactly the end that it had to.
 */
export const simulate = async (options: SimulationOptions): Promise<SimulationRun> => {
  const clock = new VirtualClock();
  // Separate lines of chance, so that one more frame does not change which jobs are submitted.
  const random = (line: number) => seededRandom(options.seed * 8 + line);
  const network = new SimulatedNetwork({ clock, random: random(1) });
  const shape = options.shape ?? defaultShape;
  const cluster = new SimulatedCluster({
    clock,
    random: random(2),
    network,
    shape,
    workflows: simulatedWorkflows(clock, random(3)),
    ...(options.logger === undefined ? {} : { logger: options.logger }),
  });
  const faultsForMs = options.faultsForMs ?? 60_000;
  const plan = planJobs(random(4), {
    count: options.jobCount ?? 8,
    spanMs: Math.max(faultsForMs, 1_000),
    datacenters: Object.keys(shape.datacenters),
  });
  const stop = new AbortController();
  // Every job of the plan waits for it: many are no leak.
  setMaxListeners(0, stop.signal);
  const jobs = plan.map((planned) => new SimulatedJob(planned));
  let faults = 0;
  let isHealed = false;
  const violations: string[] = cluster.storeViolations;
  const note = (what: string) => (error: unknown) => {
    if (!stop.signal.aborted) violations.push(`${what}: ${String(error)}`);
  };

  const running = cluster.start().then(() =>
    Promise.all([
      ...jobs.map((job) =>
        job.run(cluster, clock, stop.signal).catch(note(`job ${job.planned.submit.name}`)),
      ),
      injectFaults({ clock, random: random(5), network, cluster, forMs: faultsForMs }).then((count) => {
        faults = count;
        isHealed = true;
      }),
    ]),
  );
  running.catch(note("the cluster"));
  try {
    await clock.advanceUntil(
      () => isHealed && jobs.every((job) => job.isOver),
      faultsForMs + 20_000 + (options.settleMs ?? 600_000),
    );
  } catch (error) {
    const open = jobs
      .filter((job) => !job.isOver)
      .map((job) => `${job.planned.submit.name} (${job.watched?.jobId ?? "not accepted"})`);
    const nodes = cluster.nodes
      .filter((node) => node.state !== "up")
      .map((node) => `${node.host} is ${node.state}`);
    violations.push(
      `did not come to an end: ${[...open, ...nodes].join(", ")} (${(error as Error).message})`,
    );
  }
  for (const job of jobs) violations.push(...job.check(cluster));
  const virtualMs = clock.monotonicNow();
  stop.abort(new Error("the simulation is over"));
  if (!(await stopsWithin(clock, cluster)))
    violations.push(`a killed node still ran after ${STOP_LIMIT_MS} ms`);
  const trace = jobs.flatMap((job) => job.watched?.trace ?? []);
  return {
    virtualMs,
    events: network.deliveredCount + trace.length,
    faults,
    violations,
    fingerprint: createHash("sha256").update(trace.join("\n")).digest("hex"),
  };
};

/** A killed node has nothing to wait for; this is for what only the next turn of a loop notices. */
const STOP_LIMIT_MS = 60_000;

const stopsWithin = async (clock: VirtualClock, cluster: SimulatedCluster): Promise<boolean> => {
  let hasStopped = false;
  const stopping = cluster.stop().then(() => {
    hasStopped = true;
  });
  stopping.catch(() => undefined);
  // Nothing may be set any more when all have stopped, so a run without timers is over too.
  await clock.advanceUntil(() => hasStopped, STOP_LIMIT_MS).catch(() => undefined);
  return hasStopped;
};

/** One job of the workload from its submission to its checked end. */
class SimulatedJob {
  readonly planned: PlannedJob;
  watched: WatchedJob | undefined;
  isOver = false;
  #isCancelled = false;

  constructor(planned: PlannedJob) {
    this.planned = planned;
  }

  async run(cluster: SimulatedCluster, clock: VirtualClock, signal: AbortSignal): Promise<void> {
    await clock.sleep(this.planned.submitAtMs, { signal });
    const { jobId } = await cluster.client.submit({ ...this.planned.submit, signal });
    this.watched = new WatchedJob(jobId);
    const { cancelAfterMs } = this.planned;
    const cancelling =
      cancelAfterMs === undefined
        ? Promise.resolve()
        : this.#cancel(cluster, clock, jobId, cancelAfterMs, signal);
    await Promise.all([this.watched.follow(cluster.client, signal), cancelling]);
    this.isOver = true;
  }

  async #cancel(
    cluster: SimulatedCluster,
    clock: VirtualClock,
    jobId: string,
    afterMs: number,
    signal: AbortSignal,
  ): Promise<void> {
    await clock.sleep(afterMs, { signal });
    // A person presses the button again when it did not work.
    while (!this.#isCancelled) {
      try {
        await cluster.client.cancel(jobId, { signal });
        this.#isCancelled = true;
      } catch (error) {
        if (signal.aborted) throw error;
        await clock.sleep(1_000, { signal });
      }
    }
  }

  /** What the end of the job says against the promises. */
  check(cluster: SimulatedCluster): readonly string[] {
    const { watched, planned } = this;
    if (watched === undefined) return [];
    const name = `${planned.submit.name} (${watched.jobId})`;
    const violations = watched.violations.map((violation) => `${name}: ${violation}`);
    const { result } = watched;
    if (result === undefined) return violations;
    if (!planned.expected.statuses.includes(result.status)) {
      violations.push(
        `${name}: ended ${result.status}, expected ${planned.expected.statuses.join(" or ")}: ${result.errors.join("; ")}`,
      );
    }
    if (result.status === "completed") violations.push(...this.#checkTotals(cluster, watched.jobId, name));
    for (const [datacenter, ledger] of cluster.ledgers) {
      for (const [key, count] of ledger.doneCount) {
        if (key.startsWith(watched.jobId) && count !== 1)
          violations.push(`${name}: effect ${key} was done ${count} times in ${datacenter}`);
      }
    }
    return violations;
  }

  #checkTotals(cluster: SimulatedCluster, jobId: string, name: string): readonly string[] {
    const result = this.watched?.result;
    if (result === undefined) return [];
    const violations: string[] = [];
    const places = Object.keys(result.datacenters);
    const expected = this.planned.expected.unitsPerDatacenter * places.length;
    const units = result.workflows.reduce(
      (sum, workflow) => sum + (workflow.totals.counters["units"] ?? 0),
      0,
    );
    if (units !== expected) violations.push(`${name}: counted ${units} units, expected ${expected}`);
    for (const workflow of result.workflows) {
      const { total, completed, failed } = workflow.shards;
      if (completed !== total || failed !== 0)
        violations.push(`${name}: completed with ${completed} of ${total} shards of ${workflow.name}`);
    }
    const usesEffects = result.workflows.some((workflow) => workflow.workflow === "fan");
    if (!usesEffects) return violations;
    for (const datacenter of places) {
      const effects = cluster.ledgers.get(datacenter)?.countFor(jobId) ?? 0;
      if (effects !== this.planned.expected.unitsPerDatacenter) {
        violations.push(
          `${name}: ${effects} effects in ${datacenter}, expected ${this.planned.expected.unitsPerDatacenter}`,
        );
      }
    }
    return violations;
  }
}
