import type {
  EncodedHistogram,
  JobEvent,
  JobResult,
  JobStatus,
  Leader,
  WorkflowResult,
  WorkflowStatus,
} from "@holdfast/protocol/contract";

/** How many windows per workflow and datacenter, and how many log lines, a projection keeps; older ones fall off. */
export const WINDOWS_KEPT = 600;
export const LOGS_KEPT = 500;

export type HistogramSummary = Omit<EncodedHistogram, "encoded">;

export interface WindowPoint {
  readonly windowStart: number;
  readonly windowMs: number;
  /**
   * Since the end of the window before, and at least `windowMs`. It is longer where nothing was reported for a while:
   * by a busy manager's wish, or because it was away.
   */
  readonly spanMs: number;
  /** Units of work done per second of the span; so is `errorRate`. */
  readonly rate: number;
  readonly errorRate: number;
  /** By histogram name. */
  readonly histograms: Readonly<Record<string, HistogramSummary>>;
}

/** One workflow in one datacenter. */
export interface CellProgress {
  readonly status: WorkflowStatus;
  readonly done: number;
  readonly total: number;
  readonly shards: {
    readonly total: number;
    readonly completed: number;
    readonly failed: number;
    readonly running: number;
  };
  readonly workerCount: number;
  /** Sums of what windows carried. The result has the exact figures. */
  readonly counters: Readonly<Record<string, number>>;
  readonly windows: readonly WindowPoint[];
}

export interface WorkflowProjection {
  readonly workflowId: string;
  readonly name: string;
  readonly status: WorkflowStatus;
  readonly error: string | undefined;
  /** By datacenter; the key is "" when the log is that of a single datacenter without a gate. */
  readonly cells: Readonly<Record<string, CellProgress>>;
}

export interface LogLine {
  readonly at: number;
  readonly datacenter: string;
  readonly workflowId: string;
  readonly shard: number;
  readonly worker: string;
  readonly level: "debug" | "info" | "warn" | "error";
  readonly message: string;
}

/** What a reader of a job's log knows after some prefix of it. */
export interface JobProjection {
  readonly status: JobStatus;
  readonly message: string;
  readonly startedAt: number | undefined;
  /** Wall clock of the newest event. */
  readonly lastEventAt: number;
  readonly gate: Leader | undefined;
  readonly managers: Readonly<Record<string, Leader>>;
  readonly takeOverCount: number;
  readonly retryCount: number;
  readonly workflows: Readonly<Record<string, WorkflowProjection>>;
  readonly logs: readonly LogLine[];
  readonly result: JobResult | undefined;
}

export const emptyProjection: JobProjection = {
  status: "submitted",
  message: "",
  startedAt: undefined,
  lastEventAt: 0,
  gate: undefined,
  managers: {},
  takeOverCount: 0,
  retryCount: 0,
  workflows: {},
  logs: [],
  result: undefined,
};

const emptyCell: CellProgress = {
  status: "pending",
  done: 0,
  total: 0,
  shards: { total: 0, completed: 0, failed: 0, running: 0 },
  workerCount: 0,
  counters: {},
  windows: [],
};

/**
 * Folds one event into the projection, without changing the old one. Pure, so that a terminal, a browser and
 * a test show the same thing. Events of types that this version does not know change nothing.
 */
export const projectEvent = (before: JobProjection, event: JobEvent): JobProjection => {
  const next = {
    ...before,
    startedAt: before.startedAt ?? event.at,
    lastEventAt: Math.max(before.lastEventAt, event.at),
  };
  const datacenter = event.datacenter ?? "";
  switch (event.type) {
    case "job.status":
      // A datacenter's own status is not the job's: the gate says that itself, without naming a datacenter.
      if (event.datacenter !== undefined) return next;
      return {
        ...next,
        status: event.status,
        message: event.error?.message ?? event.message ?? next.message,
      };
    case "job.leader": {
      const takeOverCount = next.takeOverCount + (event.previous === undefined ? 0 : 1);
      return event.role === "gate"
        ? { ...next, takeOverCount, gate: event.leader }
        : { ...next, takeOverCount, managers: { ...next.managers, [datacenter]: event.leader } };
    }
    case "workflow.status":
      if (isMerged(next, event)) return withError(next, event.workflowId, event.error?.message);
      return withCell(next, event.workflowId, datacenter, event.name, (cell, workflow) => ({
        cell: { ...cell, status: event.status, shards: { ...cell.shards, ...event.shards } },
        workflow: event.error === undefined ? workflow : { ...workflow, error: event.error.message },
      }));
    case "shard.retry":
      // Without a wait there is no further attempt: that is a failure, not a retry.
      return event.retryInMs === undefined ? next : { ...next, retryCount: next.retryCount + 1 };
    case "window":
      return withCell(next, event.workflowId, datacenter, undefined, (cell, workflow) => {
        const spanMs = spanOf(event, cell.windows.at(-1));
        const seconds = spanMs / 1000;
        const point: WindowPoint = {
          windowStart: event.windowStart,
          windowMs: event.windowMs,
          spanMs,
          rate: Math.max(0, event.progress.done - cell.done) / seconds,
          errorRate: (event.counters["errors"] ?? 0) / seconds,
          histograms: Object.fromEntries(
            Object.entries(event.histograms).map(([name, { encoded: _encoded, ...summary }]) => [
              name,
              summary,
            ]),
          ),
        };
        return {
          workflow,
          cell: {
            ...cell,
            status: cell.status === "pending" || cell.status === "assigned" ? "running" : cell.status,
            done: event.progress.done,
            total: event.progress.total,
            shards: event.shards,
            workerCount: event.workerCount,
            counters: addCounters(cell.counters, event.counters),
            windows: [...cell.windows.slice(-(WINDOWS_KEPT - 1)), point],
          },
        };
      });
    case "log":
      return {
        ...next,
        logs: [
          ...next.logs.slice(-(LOGS_KEPT - 1)),
          {
            at: event.at,
            datacenter,
            workflowId: event.workflowId,
            shard: event.shard,
            worker: event.worker,
            level: event.level,
            message: event.message,
          },
        ],
      };
    case "workflow.result":
      return isMerged(next, { ...event, workflowId: event.result.workflowId })
        ? projectMergedResult(next, event.result)
        : projectCellResult(next, datacenter, event.result);
    case "job.result":
      if (event.datacenter !== undefined) return next;
      return { ...next, status: event.result.status, result: event.result };
    default:
      return next;
  }
};

/** An event of the gate about a workflow whose datacenters are shown one by one: it must not become one more of them. */
const isMerged = (
  projection: JobProjection,
  event: { readonly datacenter?: string | undefined; readonly workflowId: string },
): boolean => {
  const cells = Object.keys(projection.workflows[event.workflowId]?.cells ?? {});
  return event.datacenter === undefined && cells.some((datacenter) => datacenter !== "");
};

const projectCellResult = (
  projection: JobProjection,
  datacenter: string,
  result: Pick<WorkflowResult, "workflowId" | "status" | "shards" | "error"> & { readonly name?: string },
): JobProjection =>
  withCell(projection, result.workflowId, datacenter, result.name, (cell, workflow) => ({
    cell: { ...cell, status: result.status, shards: { ...cell.shards, ...result.shards, running: 0 } },
    workflow: { ...workflow, error: result.error?.message ?? workflow.error },
  }));

const projectMergedResult = (projection: JobProjection, result: WorkflowResult): JobProjection => {
  let next = projection;
  for (const [datacenter, part] of Object.entries(result.datacenters ?? {})) {
    next = projectCellResult(next, datacenter, { ...part, workflowId: result.workflowId });
  }
  return withError(next, result.workflowId, result.error?.message);
};

const withError = (
  projection: JobProjection,
  workflowId: string,
  error: string | undefined,
): JobProjection => {
  const workflow = projection.workflows[workflowId];
  if (workflow === undefined || error === undefined) return projection;
  return { ...projection, workflows: { ...projection.workflows, [workflowId]: { ...workflow, error } } };
};

/** The sums over datacenters of a workflow. */
export const workflowTotals = (
  workflow: WorkflowProjection,
): {
  readonly done: number;
  readonly total: number;
  readonly rate: number;
  readonly shards: CellProgress["shards"];
} => {
  let done = 0;
  let total = 0;
  let rate = 0;
  const shards = { total: 0, completed: 0, failed: 0, running: 0 };
  for (const cell of Object.values(workflow.cells)) {
    done += cell.done;
    total += cell.total;
    rate += recentRate(cell);
    shards.total += cell.shards.total;
    shards.completed += cell.shards.completed;
    shards.failed += cell.shards.failed;
    shards.running += cell.shards.running;
  }
  return { done, total, rate, shards };
};

const spanOf = (
  { windowStart, windowMs }: Pick<WindowPoint, "windowStart" | "windowMs">,
  before: WindowPoint | undefined,
): number =>
  before === undefined
    ? windowMs
    : Math.max(windowMs, windowStart + windowMs - (before.windowStart + before.windowMs));

/** Mean rate over the newest windows (up to two seconds of them), units per second. */
export const recentRate = (cell: CellProgress): number => {
  let units = 0;
  let spanMs = 0;
  for (let index = cell.windows.length - 1; index >= 0 && spanMs < 2_000; index -= 1) {
    const point = cell.windows[index] as WindowPoint;
    units += (point.rate * point.spanMs) / 1000;
    spanMs += point.spanMs;
  }
  return spanMs === 0 ? 0 : (units / spanMs) * 1000;
};

/**
 * How far a workflow, or its part in one datacenter, is: 0 to 1, undefined before that is known. What runs is measured by
 * its units, as far as its shards have said how many there are; what failed or was cancelled by the shards that are whole.
 */
export const shareDone = (
  status: WorkflowProjection["status"],
  { done, total, shards }: Pick<CellProgress, "done" | "total" | "shards">,
): number | undefined => {
  if (status === "completed") return 1;
  const isCutShort = status === "failed" || status === "cancelled";
  if (total > 0 && !isCutShort) return Math.min(1, done / total);
  return shards.total > 0 ? shards.completed / shards.total : undefined;
};

/** How far the whole job is, 0 to 1; undefined before it has workflows. One that failed stays where it was then. */
export const jobFraction = (projection: JobProjection): number | undefined => {
  if (projection.result?.status === "completed") return 1;
  const workflows = Object.values(projection.workflows);
  if (workflows.length === 0) return undefined;
  let sum = 0;
  for (const workflow of workflows) sum += shareDone(workflow.status, workflowTotals(workflow)) ?? 0;
  return sum / workflows.length;
};

const withCell = (
  projection: JobProjection,
  workflowId: string,
  datacenter: string,
  name: string | undefined,
  change: (
    cell: CellProgress,
    workflow: WorkflowProjection,
  ) => { cell: CellProgress; workflow: WorkflowProjection },
): JobProjection => {
  const workflow: WorkflowProjection = projection.workflows[workflowId] ?? {
    workflowId,
    name: name ?? workflowId,
    status: "pending",
    error: undefined,
    cells: {},
  };
  const changed = change(workflow.cells[datacenter] ?? emptyCell, workflow);
  const cells = { ...workflow.cells, [datacenter]: changed.cell };
  const updated = {
    ...changed.workflow,
    name: name ?? workflow.name,
    cells,
    status: combinedStatus(Object.values(cells).map((cell) => cell.status)),
  };
  return { ...projection, workflows: { ...projection.workflows, [workflowId]: updated } };
};

/** A workflow over several datacenters: failed if any failed, running while any runs, completed when all are. */
const combinedStatus = (statuses: readonly WorkflowStatus[]): WorkflowStatus => {
  for (const status of ["failed", "running", "assigned", "pending", "cancelled"] as const) {
    if (statuses.includes(status)) return status;
  }
  return "completed";
};

const addCounters = (
  sums: Readonly<Record<string, number>>,
  more: Readonly<Record<string, number>>,
): Record<string, number> => {
  const result: Record<string, number> = { ...sums };
  for (const [name, amount] of Object.entries(more)) result[name] = (result[name] ?? 0) + amount;
  return result;
};
