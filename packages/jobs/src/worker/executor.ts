import type { HoldfastError, WireError } from "@holdfast/kernel";
import type {
  Assignment,
  EncodedHistogram,
  Measurements,
  TaskProgress,
  ValidateInputAnswer,
  WorkflowCatalogEntry,
} from "@holdfast/protocol/contract";

/** What changed in a shard since the update before. */
export interface ShardUpdate {
  /** State now, not a difference. */
  readonly progress: { readonly done: number; readonly total: number };
  /** Wall clock at the start of the window, and its length. */
  readonly windowStart: number;
  readonly windowMs: number;
  readonly counters: Readonly<Record<string, number>>;
  readonly histograms: Readonly<Record<string, EncodedHistogram>>;
  readonly logs: TaskProgress["logs"];
}

export type ShardOutcome = {
  /** What changed since the last update; undefined when nothing did. */
  readonly lastUpdate: ShardUpdate | undefined;
} & (
  | {
      readonly kind: "completed";
      /** JSON; null when the workflow returned nothing. */
      readonly output: unknown;
      readonly totals: Measurements;
      readonly progress: { readonly done: number; readonly total: number };
      readonly startedAt: number;
      readonly finishedAt: number;
    }
  | {
      readonly kind: "failed";
      readonly error: WireError;
      readonly retry: boolean;
      readonly uncounted: boolean;
    }
);

/** One attempt under way. */
export interface Execution {
  /** Never rejects. Settles at the latest a grace after `stop` or the attempt's timeout, whatever the workflow does. */
  readonly outcome: Promise<ShardOutcome>;
  /** Asks for an update; `onUpdate` gets it, soon or never (a blocked workflow cannot answer). */
  collect(): void;
  /** Aborts the workflow's signal with `reason`; the outcome then is a failure with it. The first reason counts. */
  stop(reason: HoldfastError): void;
}

/**
 * Runs the code of workflows. Threads isolate it from the node; inline runs it on the node's own event loop.
 *
 * An executor runs as many attempts at once as it is given: the caller counts cores. Its own bound is `capacity`.
 */
export interface Executor extends AsyncDisposable {
  /** Attempts that it can run at once. */
  readonly capacity: number;
  /**
   * Loads the workflows.
   * @throws WorkflowModuleError, DuplicateWorkflowError; not retryable.
   */
  start(): Promise<readonly WorkflowCatalogEntry[]>;
  /** Runs a workflow's own input schema. @throws TimeoutError when the schema does not end. */
  validate(request: { readonly workflow: string; readonly input: unknown }): Promise<ValidateInputAnswer>;
  /** Begins an attempt. @throws WorkflowModuleError when nothing can run it; the attempt has failed then. */
  execute(assignment: Assignment, hooks: { readonly onUpdate: (update: ShardUpdate) => void }): Execution;
  /** Ends everything that still runs, by force where it must. Idempotent. */
  close(): Promise<void>;
}

/** How long user code may go on after its signal aborted. Stated on `WorkflowContext.signal`. */
export const STOP_GRACE_MS = 5_000;
