/** How far a replica is behind its primary. */
export interface Lag {
  readonly bytes: bigint;
  /** Undefined when the replica is behind everything that is remembered. */
  readonly ms: number | undefined;
}

/** Ten minutes of samples at one a second. */
const SAMPLE_MAX_COUNT = 600;

/**
 * Where the log of one primary ended at which time. It turns a replica's position into a time: how long ago the
 * primary was where the replica is now. The replica's own clock and its last replayed commit are not asked, because
 * both make an idle primary look like a growing lag.
 */
export class PrimaryLog {
  readonly timeline: number;
  /** Oldest first; `lsn` grows. */
  readonly #samples: { readonly at: number; readonly lsn: bigint }[] = [];

  constructor(timeline: number) {
    this.timeline = timeline;
  }

  /** The furthest end that was seen. */
  get lastLsn(): bigint | undefined {
    return this.#samples.at(-1)?.lsn;
  }

  /** @param at Monotonic milliseconds. */
  note(at: number, lsn: bigint): void {
    const last = this.#samples.at(-1);
    if (last !== undefined && lsn < last.lsn) return;
    // While nothing is written one sample moves along, so that memory holds times of writing only.
    if (last !== undefined && last.lsn === lsn && this.#samples.at(-2)?.lsn === lsn) this.#samples.pop();
    this.#samples.push({ at, lsn });
    if (this.#samples.length > SAMPLE_MAX_COUNT) this.#samples.shift();
  }

  /** The lag of a replica that was at `lsn` at the time `at`; undefined before the first sample. */
  lagAt(at: number, lsn: bigint): Lag | undefined {
    const then = this.#samples.findLast((sample) => sample.at <= at) ?? this.#samples[0];
    if (then === undefined) return undefined;
    if (lsn >= then.lsn) return { bytes: 0n, ms: 0 };
    const reached = this.#samples.findLast((sample) => sample.lsn <= lsn);
    return { bytes: then.lsn - lsn, ms: reached === undefined ? undefined : Math.max(0, at - reached.at) };
  }
}
