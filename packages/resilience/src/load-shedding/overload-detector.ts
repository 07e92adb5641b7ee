import { Emitter, InvalidInputError } from "@holdfast/kernel";
import { checkCount, checkNumber } from "../option-checks.ts";
import { levelOf, type OverloadLevel, type OverloadSource, severityOf } from "./overload-level.ts";

/** Three rising limits: at or above the first is busy, the second stressed, the third overloaded. */
export type LevelLimits = readonly [busy: number, stressed: number, overloaded: number];

export interface OverloadDetectorOptions {
  /** Mean of the recent latencies in milliseconds. Default 200, 500, 2_000. */
  readonly latencyLimitsMs?: LevelLimits;
  /** Share by which the recent latency exceeds its own baseline. Default 0.2, 0.5, 1. */
  readonly riseLimits?: LevelLimits;
  /** CPU or memory in use, as a share of what there is. Default 0.7, 0.85, 0.95. */
  readonly resourceLimits?: LevelLimits;
  /** A rise or drift of fewer milliseconds than this is noise, whatever share of a tiny baseline it is. Default 5. */
  readonly riseMinMs?: number;
  /** How many latencies count as recent, at least 1. Default 10. */
  readonly recentCount?: number;
  /** No judgement against the baseline before this many latencies. Default 10. */
  readonly warmUpCount?: number;
  /** Consecutive better samples before the level improves, at least 1. Default 2. */
  readonly improveCount?: number;
  /** Rise of the baseline over its long-term mean that makes busy or stressed one level worse. Default 0.15. */
  readonly driftShare?: number;
  /** Such a rise that makes even a healthy node busy; at least `driftShare`. Default 0.3. */
  readonly highDriftShare?: number;
}

export interface ResourceSample {
  /** Share of the processors in use, from 0. */
  readonly cpuShare?: number;
  /** Share of the memory in use, from 0. */
  readonly memoryShare?: number;
}

export interface OverloadDetectorEvents {
  levelChanged: { readonly from: OverloadLevel; readonly to: OverloadLevel };
}

/** `sampleCount = latencySampleCount + resourceSampleCount`; `changeCount = worsenedCount + improvedCount`. */
export interface OverloadDetectorStats {
  readonly level: OverloadLevel;
  readonly sampleCount: number;
  readonly latencySampleCount: number;
  readonly resourceSampleCount: number;
  readonly changeCount: number;
  readonly worsenedCount: number;
  readonly improvedCount: number;
  /** Mean of the recent latencies; undefined before the first. */
  readonly recentMs: number | undefined;
  /** What is normal of late; undefined before the first latency. */
  readonly baselineMs: number | undefined;
  /** How far the baseline lies above the long-term mean, as a share; 0 during warm-up. */
  readonly drift: number;
}

/** Weight of one sample in the baseline: it follows the last ten or so samples. */
const BASELINE_WEIGHT = 0.1;
/** Weight in the long-term mean, five times slower, so that a creeping baseline shows against it. */
const LONG_TERM_WEIGHT = 0.02;

/**
 * Tells how loaded this process is, as the worst of three signals: latency against its own recent past,
 * latency against absolute limits, and CPU or memory. A slow creep that never jumps is caught by comparing
 * the baseline with a longer mean.
 *
 * Worsening takes effect with the sample that shows it; improving needs `improveCount` samples in a row, and
 * then goes to the worst level among them. Nothing is measured here: feed it with `recordLatency` and
 * `recordResources`.
 */
export class OverloadDetector implements OverloadSource {
  readonly events = new Emitter<OverloadDetectorEvents>();
  readonly #latencyLimitsMs: LevelLimits;
  readonly #riseLimits: LevelLimits;
  readonly #resourceLimits: LevelLimits;
  readonly #riseMinMs: number;
  readonly #warmUpCount: number;
  readonly #improveCount: number;
  readonly #driftShare: number;
  readonly #highDriftShare: number;
  readonly #recent: Float64Array;
  #latencySampleCount = 0;
  #resourceSampleCount = 0;
  #worsenedCount = 0;
  #improvedCount = 0;
  #baselineMs = 0;
  #longTermMs = 0;
  #resourceShare = 0;
  #level: OverloadLevel = "healthy";
  #betterCount = 0;
  #betterSeverity = 0;

  /** @throws InvalidInputError naming the option that is out of range. */
  constructor(options: OverloadDetectorOptions = {}) {
    this.#latencyLimitsMs = checkLimits(
      "detector.latencyLimitsMs",
      options.latencyLimitsMs ?? [200, 500, 2_000],
    );
    this.#riseLimits = checkLimits("detector.riseLimits", options.riseLimits ?? [0.2, 0.5, 1]);
    this.#resourceLimits = checkLimits(
      "detector.resourceLimits",
      options.resourceLimits ?? [0.7, 0.85, 0.95],
    );
    const recentCount = checkCount("detector.recentCount", options.recentCount ?? 10, {
      min: 1,
      max: 10_000,
    });
    this.#riseMinMs = checkNumber("detector.riseMinMs", options.riseMinMs ?? 5, { min: 0 });
    this.#warmUpCount = checkCount("detector.warmUpCount", options.warmUpCount ?? 10);
    this.#improveCount = checkCount("detector.improveCount", options.improveCount ?? 2, { min: 1 });
    this.#driftShare = checkNumber("detector.driftShare", options.driftShare ?? 0.15, { above: 0 });
    this.#highDriftShare = checkNumber(
      "detector.highDriftShare",
      options.highDriftShare ?? Math.max(0.3, this.#driftShare),
      { min: this.#driftShare },
    );
    this.#recent = new Float64Array(recentCount);
  }

  get level(): OverloadLevel {
    return this.#level;
  }

  get stats(): OverloadDetectorStats {
    const hasLatency = this.#latencySampleCount > 0;
    return {
      level: this.#level,
      sampleCount: this.#latencySampleCount + this.#resourceSampleCount,
      latencySampleCount: this.#latencySampleCount,
      resourceSampleCount: this.#resourceSampleCount,
      changeCount: this.#worsenedCount + this.#improvedCount,
      worsenedCount: this.#worsenedCount,
      improvedCount: this.#improvedCount,
      recentMs: hasLatency ? this.#recentMeanMs() : undefined,
      baselineMs: hasLatency ? this.#baselineMs : undefined,
      drift: this.#drift(),
    };
  }

  /** Takes one latency and gives the level that now holds. @throws InvalidInputError when it is not a finite number from 0. */
  recordLatency(latencyMs: number): OverloadLevel {
    checkNumber("latencyMs", latencyMs, { min: 0 });
    this.#recent[this.#latencySampleCount % this.#recent.length] = latencyMs;
    this.#latencySampleCount += 1;
    // The sample is judged against what was normal before it.
    const observed = this.#observed();
    const isFirst = this.#latencySampleCount === 1;
    this.#baselineMs = isFirst
      ? latencyMs
      : this.#baselineMs + BASELINE_WEIGHT * (latencyMs - this.#baselineMs);
    this.#longTermMs = isFirst
      ? latencyMs
      : this.#longTermMs + LONG_TERM_WEIGHT * (latencyMs - this.#longTermMs);
    return this.#settle(observed);
  }

  /** Takes the present use of CPU and memory and gives the level that now holds. */
  recordResources(sample: ResourceSample): OverloadLevel {
    const cpuShare = checkNumber("cpuShare", sample.cpuShare ?? 0, { min: 0 });
    const memoryShare = checkNumber("memoryShare", sample.memoryShare ?? 0, { min: 0 });
    this.#resourceSampleCount += 1;
    this.#resourceShare = Math.max(cpuShare, memoryShare);
    return this.#settle(this.#observed());
  }

  #observed(): number {
    const resources = severity(this.#resourceShare, this.#resourceLimits);
    if (this.#latencySampleCount === 0) return resources;
    const recentMs = this.#recentMeanMs();
    const absolute = severity(recentMs, this.#latencyLimitsMs);
    const rise = severity(this.#riseShare(recentMs, this.#baselineMs), this.#riseLimits);
    const worst = Math.max(resources, absolute, rise);
    const drift = this.#drift();
    if (worst === 0) return drift >= this.#highDriftShare ? 1 : 0;
    return drift >= this.#driftShare ? Math.min(worst + 1, 3) : worst;
  }

  /** Moves up at once, down only after enough better samples in a row. */
  #settle(observed: number): OverloadLevel {
    const current = severityOf(this.#level);
    if (observed >= current) {
      this.#betterCount = 0;
      if (observed > current) {
        this.#worsenedCount += 1;
        this.#change(observed);
      }
      return this.#level;
    }
    this.#betterSeverity = this.#betterCount === 0 ? observed : Math.max(this.#betterSeverity, observed);
    this.#betterCount += 1;
    if (this.#betterCount >= this.#improveCount) {
      this.#betterCount = 0;
      this.#improvedCount += 1;
      this.#change(this.#betterSeverity);
    }
    return this.#level;
  }

  #change(to: number): void {
    const from = this.#level;
    this.#level = levelOf(to);
    this.events.emit("levelChanged", { from, to: this.#level });
  }

  #recentMeanMs(): number {
    const count = Math.min(this.#latencySampleCount, this.#recent.length);
    let sum = 0;
    for (let index = 0; index < count; index += 1) sum += this.#recent[index] ?? 0;
    return sum / count;
  }

  #drift(): number {
    return this.#riseShare(this.#baselineMs, this.#longTermMs);
  }

  /** By what share `value` exceeds `normal`; 0 while warming up and when the difference is noise. */
  #riseShare(value: number, normal: number): number {
    const isWarm = this.#latencySampleCount > this.#warmUpCount && normal > 0;
    return isWarm && value - normal >= this.#riseMinMs ? Math.max(0, value / normal - 1) : 0;
  }
}

const severity = (value: number, limits: LevelLimits): number =>
  value >= limits[2] ? 3 : value >= limits[1] ? 2 : value >= limits[0] ? 1 : 0;

const checkLimits = (field: string, limits: LevelLimits): LevelLimits => {
  const isRising =
    Array.isArray(limits) &&
    limits.length === 3 &&
    limits.every((limit) => Number.isFinite(limit) && limit > 0) &&
    limits[0] < limits[1] &&
    limits[1] < limits[2];
  if (!isRising) throw new InvalidInputError(field, limits, "three rising numbers above 0");
  return [limits[0], limits[1], limits[2]];
};
