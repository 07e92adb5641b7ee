import { InvalidInputError } from "@holdfast/kernel";
import { checkCount, checkNumber } from "../option-checks.ts";

export interface QueuePressureOptions {
  /** Places in the queue proper, from 1. Default 500. */
  readonly capacity?: number;
  /** Places beyond it, for what is on its way when the queue is full. Default 100. */
  readonly overflowCapacity?: number;
  /** Shares of the capacity at which senders throttle, batch and overflow; rising, in (0, 1]. Default 0.7, 0.85, 0.95. */
  readonly limits?: readonly [throttle: number, batch: number, overflow: number];
  /** The pause asked for at each step, in milliseconds. Default 50, 200, 100. */
  readonly delaysMs?: readonly [throttle: number, batch: number, overflow: number];
  /** The pause asked for by a rejection, in milliseconds. Default 500. */
  readonly rejectRetryAfterMs?: number;
}

/**
 * What a sender should do: go on; slow down; send several at once; slow down because only the reserve is left;
 * or keep it, because it was not taken.
 */
export type QueuePressure =
  | { readonly kind: "none" }
  | { readonly kind: "throttle" | "batch" | "overflow"; readonly delayMs: number }
  | { readonly kind: "reject"; readonly retryAfterMs: number };

/**
 * Tells the senders of a bounded queue how full it is, before it is full.
 * @returns A function from the present length of the queue to what the next sender should do.
 * @throws InvalidInputError naming the option that is out of range.
 */
export const queuePressure = (options: QueuePressureOptions = {}): ((length: number) => QueuePressure) => {
  const capacity = checkCount("queuePressure.capacity", options.capacity ?? 500, { min: 1 });
  const overflowCapacity = checkCount("queuePressure.overflowCapacity", options.overflowCapacity ?? 100);
  const limits = options.limits ?? [0.7, 0.85, 0.95];
  for (const limit of limits) checkNumber("queuePressure.limits", limit, { above: 0, max: 1 });
  if (!(limits[0] < limits[1] && limits[1] < limits[2])) {
    throw new InvalidInputError("queuePressure.limits", limits, "three rising shares");
  }
  const delaysMs = options.delaysMs ?? [50, 200, 100];
  for (const delayMs of delaysMs) checkNumber("queuePressure.delaysMs", delayMs, { min: 0 });
  const rejectRetryAfterMs = checkNumber(
    "queuePressure.rejectRetryAfterMs",
    options.rejectRetryAfterMs ?? 500,
    {
      min: 0,
    },
  );
  const none: QueuePressure = { kind: "none" };
  const throttle: QueuePressure = { kind: "throttle", delayMs: delaysMs[0] };
  const batch: QueuePressure = { kind: "batch", delayMs: delaysMs[1] };
  const overflow: QueuePressure = { kind: "overflow", delayMs: delaysMs[2] };
  const reject: QueuePressure = { kind: "reject", retryAfterMs: rejectRetryAfterMs };
  return (length) => {
    const share = length / capacity;
    if (share < limits[0]) return none;
    if (share < limits[1]) return throttle;
    if (share < limits[2]) return batch;
    return length < capacity + overflowCapacity ? overflow : reject;
  };
};
