import type { Position } from "@holdfast/coordination";
import type { Timer } from "@holdfast/kernel";
import type { Leader } from "@holdfast/protocol/contract";
import { shardGroup } from "../model/shard-task.ts";
import type { JobState } from "./job-state.ts";
import { JobProgress } from "./progress/job-progress.ts";

/** A job that this manager leads: its state, what is seen of it, and what waits for it. */
export class LedJob {
  readonly state: JobState;
  readonly fence: bigint;
  /** The incarnation of this node that owns it. */
  readonly ownerId: string;
  readonly leader: Leader;
  readonly progress: JobProgress;
  /** Task group of each workflow, by index. */
  readonly groups: readonly string[];
  /** Workflows whose first shard was handed out and whose status does not say so yet. */
  readonly begun = new Set<number>();
  /** Shards of the cancelled job that workers have not confirmed as stopped. */
  readonly stopping = new Set<string>();
  /** The newest committed position of its log; undefined until this manager has written to it. */
  head: Position | undefined;
  deadline: Timer | undefined;
  stopTimer: Timer | undefined;

  constructor(options: {
    readonly state: JobState;
    readonly fence: bigint;
    readonly ownerId: string;
    readonly leader: Leader;
    readonly windowMs: number;
    readonly driftMs: number;
  }) {
    this.state = options.state;
    this.fence = options.fence;
    this.ownerId = options.ownerId;
    this.leader = options.leader;
    this.progress = new JobProgress(options.state, options);
    this.groups = options.state.spec.workflows.map(({ id }) => shardGroup(options.state.jobId, id));
  }

  get jobId(): string {
    return this.state.jobId;
  }

  /** Lets go of its timers. */
  dispose(): void {
    this.deadline?.cancel();
    this.stopTimer?.cancel();
  }
}
