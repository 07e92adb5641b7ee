import { createHash } from "node:crypto";
import { type NewTask, runWorker, type TaskContext, type TaskQueue } from "@holdfast/coordination";
import { type Clock, hasCode, InvalidInputError, type Logger, withTimeout } from "@holdfast/kernel";
import type { JobSpec, ReporterConfig } from "@holdfast/protocol/contract";
import { PermanentError } from "../errors.ts";
import { approximateBytes } from "../model/approximate-bytes.ts";
import type { JobReporter } from "../model/job-reporter.ts";
import type { JobStore } from "../model/job-table.ts";
import { storedResult } from "./stored-result.ts";

/** Reporters that write files where the client is. */
const LOCAL_TYPES: ReadonlySet<string> = new Set(["json", "csv", "xml"]);

const QUEUE = "reports";
/** With the waits below the last attempt comes about half a day after the job's end. */
const ATTEMPTS_MAX_COUNT = 20;
const BACKOFF = { baseMs: 1_000, factor: 2.5, capMs: 3_600_000 } as const;
const LEASE_MS = 30_000;
const DELIVERY_TIMEOUT_MS = 300_000;
const CONCURRENCY = 8;
/**
 * What one report is given of its job's labels, and of its own settings, each as JSON. With both and an id it fits the
 * store, which takes 4 MiB: what did not would be refused with the end of the job, for ever.
 */
const PART_MAX_BYTES = 1024 * 1024;
/** A reporter that takes longer is left behind: its gate stops all the same. */
const CLOSE_TIMEOUT_MS = 5_000;

/** How a report of a job stands. */
export interface ReportView {
  readonly reporter: string;
  readonly status: "pending" | "delivered" | "failed";
  readonly attempts: number;
  /** Why the last attempt failed. */
  readonly error?: string;
}

export interface EndedJob {
  readonly jobId: string;
  readonly spec: Pick<JobSpec, "reporting" | "labels" | "workflows">;
}

export interface ReportDeliveriesOptions {
  readonly reporters: readonly JobReporter[];
  readonly store: JobStore;
  readonly nodeId: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * Delivers the results of jobs through the gate's reporters. What is to be delivered is enqueued in the
 * transaction that ends the job, so no end is forgotten; any gate with a reporter of that name delivers it, at
 * least once, with growing waits between the attempts. After 20 attempts, or a final refusal, it stays as failed.
 */
export class ReportDeliveries {
  readonly #options: ReportDeliveriesOptions;
  readonly #reporters: ReadonlyMap<string, JobReporter>;
  readonly #queue: TaskQueue<unknown>;

  /** @throws InvalidInputError for a name that is taken twice, or belongs to the client's own reporters. */
  constructor(options: ReportDeliveriesOptions) {
    this.#options = options;
    this.#reporters = checkReporters(options.reporters);
    this.#queue = options.store.coordination.queue(QUEUE);
  }

  /**
   * @throws InvalidInputError naming the entry that asks for a reporter which this gate does not have, and labels or an
   * entry of more than 1 MiB.
   */
  check(spec: EndedJob["spec"]): void {
    for (const [field, config] of wishesOf(spec)) {
      const { type } = config;
      if (!LOCAL_TYPES.has(type.toLowerCase()) && !this.#reporters.has(type)) {
        const known = [...LOCAL_TYPES, ...this.#reporters.keys()].join(", ");
        throw new InvalidInputError(`${field}.type`, type, `one of ${known}`);
      }
      checkSize(field, config);
    }
    checkSize("labels", spec.labels);
  }

  #tasksOf({ jobId, spec }: EndedJob): readonly NewTask[] {
    const wishes = wishesOf(spec);
    return [...this.#reporters.values()].flatMap((reporter): NewTask[] => {
      const [, config] = wishes.find(([, { type }]) => type === reporter.name) ?? [];
      if (config === undefined && reporter.when === "asked") return [];
      return [
        {
          id: deliveryIdOf(jobId, reporter.name),
          type: reporter.name,
          group: groupOf(jobId),
          payload: {
            jobId,
            labels: spec.labels,
            ...(config === undefined ? {} : { config: { ...config } as never }),
          },
          maxAttempts: ATTEMPTS_MAX_COUNT,
          backoff: BACKOFF,
        },
      ];
    });
  }

  /** Has these jobs reported, if the transaction that ends them commits. */
  async enqueue(jobs: readonly EndedJob[], tx: unknown): Promise<void> {
    if (this.#reporters.size === 0) return;
    const tasks = jobs.flatMap((job) => this.#tasksOf(job));
    if (tasks.length > 0) await this.#queue.enqueue(tasks, { tx });
  }

  /** Delivers until the signal aborts. Does nothing without reporters. */
  async run(signal: AbortSignal): Promise<void> {
    if (this.#reporters.size > 0) await this.#work(signal);
  }

  /** Closes every reporter, whatever becomes of the others; none is waited for longer than 5 s. Call it once, after `run`. */
  async close(): Promise<void> {
    const { clock, logger } = this.#options;
    await Promise.all(
      [...this.#reporters.values()].map(async (reporter) => {
        const limit = { operation: `closing reporter ${reporter.name}`, timeoutMs: CLOSE_TIMEOUT_MS };
        try {
          await withTimeout(clock, limit, () => reporter.close());
        } catch (error) {
          logger.warn({ err: error, reporter: reporter.name }, "a reporter was not closed");
        }
      }),
    );
  }

  async #work(signal: AbortSignal): Promise<void> {
    const { nodeId, clock, logger } = this.#options;
    const handlers = Object.fromEntries(
      [...this.#reporters.values()].map((reporter) => [
        reporter.name,
        (context: TaskContext) => this.#deliver(reporter, context),
      ]),
    );
    await runWorker({
      queue: this.#queue,
      worker: nodeId,
      handlers,
      concurrency: CONCURRENCY,
      leaseMs: LEASE_MS,
      timeoutMs: DELIVERY_TIMEOUT_MS,
      isFinal: (error) => hasCode(error, "JOBS_PERMANENT"),
      clock,
      logger,
      signal,
    });
  }

  async #deliver(reporter: JobReporter, { task, signal }: TaskContext): Promise<undefined> {
    const { store, logger } = this.#options;
    const { jobId, labels, config } = task.payload as {
      jobId: string;
      labels: Record<string, string>;
      config?: ReporterConfig;
    };
    const { result } = await storedResult(store, jobId, signal);
    if (result === undefined) {
      throw new PermanentError(`job ${jobId} is gone: it was deleted before its result was reported`);
    }
    const { id: deliveryId, attempt } = task;
    try {
      await reporter.deliver({ deliveryId, result, labels, config, attempt }, { signal });
    } catch (error) {
      logger.warn(
        { err: error, jobId, reporter: reporter.name, attempt, maxAttempts: task.maxAttempts },
        "a job's result could not be reported; see 'holdfast job' for how it stands",
      );
      throw error;
    }
  }

  /** How the reports of a job stand, in the order of their names. */
  async views(jobId: string, signal: AbortSignal): Promise<readonly ReportView[]> {
    if (this.#reporters.size === 0) return [];
    const records = await this.#queue.list({ group: groupOf(jobId), signal });
    return records
      .map(({ type, state, attempt, failures }): ReportView => {
        const status =
          state === "completed"
            ? "delivered"
            : state === "dead" || state === "cancelled"
              ? "failed"
              : "pending";
        const last = failures.at(-1)?.error as { message?: string } | undefined;
        return {
          reporter: type,
          status,
          attempts: attempt,
          ...(status === "delivered" || last?.message === undefined ? {} : { error: last.message }),
        };
      })
      .toSorted((a, b) => (a.reporter < b.reporter ? -1 : 1));
  }

  /** Forgets the deliveries of jobs that are deleted in the same transaction. */
  async forget(jobIds: readonly string[], tx: unknown): Promise<void> {
    if (jobIds.length > 0 && this.#reporters.size > 0)
      await this.#queue.deleteGroups(jobIds.map(groupOf), { tx });
  }
}

const checkReporters = (reporters: readonly JobReporter[]): ReadonlyMap<string, JobReporter> => {
  const byName = new Map<string, JobReporter>();
  for (const reporter of reporters) {
    const { name } = reporter;
    if (!/^[\w.-]{1,64}$/.test(name) || LOCAL_TYPES.has(name.toLowerCase())) {
      throw new InvalidInputError(
        "reporters.name",
        name,
        "1 to 64 letters, digits, '_', '.' or '-', and none of json, csv, xml",
      );
    }
    if (byName.has(name)) throw new InvalidInputError("reporters.name", name, "a name of its own");
    byName.set(name, reporter);
  }
  return byName;
};

/** Which reporters are asked for, each with where: by the job, then by its workflows. */
const wishesOf = ({
  reporting,
  workflows,
}: EndedJob["spec"]): readonly (readonly [field: string, config: ReporterConfig])[] => [
  ...reporting.map((config, index) => [`reporting[${index}]`, config] as const),
  ...workflows.flatMap((workflow, index) =>
    (workflow.reporting ?? []).map(
      (config, entry) => [`workflows[${index}].reporting[${entry}]`, config] as const,
    ),
  ),
];

/** Below this no text can be over the limit, whatever its characters take. */
const SURELY_FITS_BYTES = PART_MAX_BYTES / 6;

const checkSize = (field: string, value: object): void => {
  if (approximateBytes(value) <= SURELY_FITS_BYTES) return;
  const sizeBytes = Buffer.byteLength(JSON.stringify(value));
  if (sizeBytes <= PART_MAX_BYTES) return;
  throw new InvalidInputError(field, value, `at most ${PART_MAX_BYTES} bytes of JSON, not ${sizeBytes}`);
};

/** Ids of jobs may be long, and anything: hashed they fit everywhere. */
const digest = (text: string): string => createHash("sha256").update(text).digest("hex").slice(0, 32);
const groupOf = (jobId: string): string => digest(jobId);
const deliveryIdOf = (jobId: string, reporter: string): string => `rep-${digest(`${reporter}\n${jobId}`)}`;
