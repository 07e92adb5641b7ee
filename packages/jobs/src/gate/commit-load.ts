import type { Clock } from "@holdfast/kernel";
import { OverloadDetector, type OverloadLevel, type OverloadSource } from "@holdfast/resilience";

/**
 * A commit takes a millisecond or, with many jobs in it, some tens: that is grouping at work, not load. Only
 * what takes longer than this counts as a rise.
 */
const COMMIT_CALM_MS = 100;
/**
 * The mean of the last ten commits must rise by more than this before its share counts. One commit that met a frozen
 * machine or a database that failed over is not yet load.
 */
const RISE_MIN_MS = 1_000;
const LOOK_EVERY_MS = 1_000;
/** A second in which nobody waits for a commit says as much as so many quick ones: all that count as recent. */
const CALM_SAMPLES = 10;

/**
 * How loaded a gate is, by how long its commits take. While it sheds work there may be no commits that could show
 * that the load is gone, so rest counts as calm.
 */
export class CommitLoad implements OverloadSource {
  readonly #detector = new OverloadDetector({ riseMinMs: RISE_MIN_MS });
  #sampleCount = 0;

  get level(): OverloadLevel {
    return this.#detector.level;
  }

  /** A commit took so long, milliseconds. */
  record(durationMs: number): void {
    this.#sampleCount += 1;
    this.#detector.recordLatency(Math.max(durationMs, COMMIT_CALM_MS));
  }

  /** Looks for rest until aborted. @param options.isIdle Nothing waits for a commit, and none is under way. */
  async watchRest(options: {
    readonly clock: Clock;
    readonly isIdle: () => boolean;
    readonly signal: AbortSignal;
  }): Promise<void> {
    for (;;) {
      const before = this.#sampleCount;
      await options.clock.sleep(LOOK_EVERY_MS, { signal: options.signal });
      if (this.level === "healthy" || this.#sampleCount !== before || !options.isIdle()) continue;
      for (let sample = 0; sample < CALM_SAMPLES; sample += 1) this.#detector.recordLatency(COMMIT_CALM_MS);
    }
  }
}
