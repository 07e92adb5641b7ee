import type { JobEvent } from "@holdfast/protocol/contract";

/** What a decision asks of the world, to be done in the transaction that stores the decision. */
export interface Effects {
  /** To append to the job's log, in this order. */
  readonly events: JobEvent[];
  /** Indexes of workflows whose shards go into the queue. */
  readonly enqueue: number[];
  /** Indexes of workflows whose unfinished shards are cancelled in the queue. */
  readonly cancel: number[];
  /** Indexes of workflows that ended: their open windows are closed before the events. */
  readonly ended: number[];
  /** Whether the stored state changes; events alone do not need it written. */
  stateChanged: boolean;
  /** Whether a task of the job changed, so that the fence must be proven even if nothing else is written. */
  isTouched: boolean;
}

export const noEffects = (): Effects => ({
  events: [],
  enqueue: [],
  cancel: [],
  ended: [],
  stateChanged: false,
  isTouched: false,
});
