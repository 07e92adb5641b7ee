import { InvalidInputError, type Random, randomInt } from "@holdfast/kernel";

/** What a picker knows of a node that may be asked. */
export interface Candidate {
  readonly nodeId: number;
  /** Requests that wait for an answer of it, by us. */
  readonly inFlightCount: number;
  /** Time of a ping; undefined while it was not measured. */
  readonly roundTripMs: number | undefined;
  /** Grows with each pick; 0 before the first. */
  readonly lastPickedOrder: number;
}

/** Chooses one of at least one candidate. */
export type NodePicker = <C extends Candidate>(candidates: readonly C[]) => C;

export interface PowerOfTwoOptions {
  readonly random: Random;
  /** Nodes whose ping takes longer than that of the nearest plus this are asked only now and then; at least 0. Default 15. */
  readonly latencyWindowMs?: number;
  /** A node outside the window is asked once it was passed over so often, so that nobody starves; at least 1. Default 50. */
  readonly passedOverMaxCount?: number;
}

/**
 * Two random nodes of those that are near, and of the two the one with fewer requests in flight; between equals
 * the one that was picked longer ago. A slow node sheds load because its requests stay in flight, and keeps
 * enough of it to be noticed when it recovers; with requests one after the other every node gets its turn.
 *
 * The window and its width are those of MongoDB's server selection. It looks at pings, not at answers, so that a
 * slow query does not make a near node look far.
 * @throws InvalidInputError naming the option that is out of range.
 */
export const powerOfTwoChoices = (options: PowerOfTwoOptions): NodePicker => {
  const windowMs = atLeast(0, "latencyWindowMs", options.latencyWindowMs ?? 15);
  const passedOverMaxCount = atLeast(1, "passedOverMaxCount", options.passedOverMaxCount ?? 50);
  return (candidates) => {
    const forgotten = passedOver(candidates, passedOverMaxCount);
    if (forgotten !== undefined) return forgotten;
    const near = withinWindow(candidates, windowMs);
    const first = randomInt(options.random, near.length);
    const a = near[first] as (typeof near)[number];
    if (near.length === 1) return a;
    // Any but the first, all equally likely.
    const second = (first + 1 + randomInt(options.random, near.length - 1)) % near.length;
    const b = near[second] as (typeof near)[number];
    if (a.inFlightCount !== b.inFlightCount) return a.inFlightCount < b.inFlightCount ? a : b;
    return a.lastPickedOrder <= b.lastPickedOrder ? a : b;
  };
};

const atLeast = (min: number, field: string, value: number): number => {
  if (value >= min) return value;
  throw new InvalidInputError(field, value, `a number of at least ${min}`);
};

/** The one that was not picked for longest, when that is too long. */
const passedOver = <C extends Candidate>(candidates: readonly C[], maxCount: number): C | undefined => {
  let newest = 0;
  let oldest: C | undefined;
  for (const candidate of candidates) {
    newest = Math.max(newest, candidate.lastPickedOrder);
    if (oldest === undefined || candidate.lastPickedOrder < oldest.lastPickedOrder) oldest = candidate;
  }
  return oldest !== undefined && newest - oldest.lastPickedOrder >= maxCount ? oldest : undefined;
};

const withinWindow = <C extends Candidate>(candidates: readonly C[], windowMs: number): readonly C[] => {
  let nearestMs = Number.POSITIVE_INFINITY;
  for (const { roundTripMs } of candidates)
    if (roundTripMs !== undefined) nearestMs = Math.min(nearestMs, roundTripMs);
  if (nearestMs === Number.POSITIVE_INFINITY) return candidates;
  // A node that was never measured may be near: asking it is how we learn.
  return candidates.filter(
    ({ roundTripMs }) => roundTripMs === undefined || roundTripMs <= nearestMs + windowMs,
  );
};
