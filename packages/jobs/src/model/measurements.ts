import { InvalidInputError } from "@holdfast/kernel";
import type { EncodedHistogram, Measurements } from "@holdfast/protocol/contract";
import { boundedSum } from "./bounded-sum.ts";
import { Histogram } from "./histogram.ts";

/** Most names of each kind in one attempt or one merge: a name made from user data must not fill the memory. */
const COUNTERS_MAX_COUNT = 1_000;
const HISTOGRAMS_MAX_COUNT = 100;
const NAME_MAX_CHARACTERS = 256;

const checkName = (field: string, name: unknown, known: number, limit: number): void => {
  if (typeof name !== "string" || name === "" || name.length > NAME_MAX_CHARACTERS) {
    throw new InvalidInputError(field, name, `a name of 1 to ${NAME_MAX_CHARACTERS} characters`);
  }
  if (known >= limit) {
    throw new InvalidInputError(field, name, `one of at most ${limit} different names`);
  }
};

/**
 * What one attempt of one shard measures, as differences for live charts and as exact totals for the result.
 *
 * Each value is recorded once, into the current window; `takeWindow` folds the window into the totals.
 * Bounds: 1000 counters and 100 histograms; more names are refused with InvalidInputError.
 */
export class Meter {
  readonly #counters = new Map<string, { window: number; total: number }>();
  readonly #histograms = new Map<string, { readonly window: Histogram; readonly total: Histogram }>();

  /** @throws InvalidInputError for an amount that is negative or not finite, and for a name too many. */
  count(name: string, amount = 1): void {
    if (!(amount >= 0 && amount < Number.POSITIVE_INFINITY)) {
      throw new InvalidInputError(`counter ${name}`, amount, "raised by a finite number of at least 0");
    }
    const counter = this.#counters.get(name);
    if (counter === undefined) {
      checkName("counter", name, this.#counters.size, COUNTERS_MAX_COUNT);
      this.#counters.set(name, { window: amount, total: 0 });
    } else {
      counter.window = boundedSum(counter.window, amount);
    }
  }

  /** @throws InvalidInputError for a value that is negative or not finite, and for a name too many. */
  record(name: string, value: number): void {
    let histogram = this.#histograms.get(name);
    if (histogram === undefined) {
      checkName("histogram", name, this.#histograms.size, HISTOGRAMS_MAX_COUNT);
      histogram = { window: new Histogram(), total: new Histogram() };
      this.#histograms.set(name, histogram);
    }
    histogram.window.record(value);
  }

  /** What was measured since the last call; names without a change are left out. */
  takeWindow(): Measurements {
    const counters: [string, number][] = [];
    for (const [name, counter] of this.#counters) {
      if (counter.window === 0) continue;
      counters.push([name, counter.window]);
      counter.total = boundedSum(counter.total, counter.window);
      counter.window = 0;
    }
    const histograms: [string, EncodedHistogram][] = [];
    for (const [name, { window, total }] of this.#histograms) {
      if (window.count === 0) continue;
      histograms.push([name, window.encode()]);
      total.add(window);
      window.reset();
    }
    return { counters: Object.fromEntries(counters), histograms: Object.fromEntries(histograms) };
  }

  /** Everything that was measured so far, the current window included (and left as it is). */
  totals(): Measurements {
    const counters = [...this.#counters].map(
      ([name, { window, total }]) => [name, boundedSum(total, window)] as const,
    );
    const histograms = [...this.#histograms].map(([name, { window, total }]) => {
      if (total.count === 0) return [name, window.encode()] as const;
      const sum = new Histogram();
      sum.add(total);
      sum.add(window);
      return [name, sum.encode()] as const;
    });
    return { counters: Object.fromEntries(counters), histograms: Object.fromEntries(histograms) };
  }
}

/**
 * A running sum of measurements: counters add up, histograms merge. The order of the parts does not matter.
 *
 * Bounds as for {@link Meter}: a part that would bring in more names is refused with InvalidInputError, and
 * nothing of it is added.
 */
export class MeasurementSum {
  readonly #counters = new Map<string, number>();
  readonly #histograms = new Map<string, Histogram>();

  /** True while nothing was added. */
  get isEmpty(): boolean {
    return this.#counters.size === 0 && this.#histograms.size === 0;
  }

  /** @throws InvalidInputError when a histogram cannot be read or there are too many names. */
  add(part: Measurements): void {
    const histograms = Object.entries(part.histograms).map(
      ([name, wire]) => [name, Histogram.decode(wire)] as const,
    );
    checkNames("counters", this.#counters, Object.keys(part.counters), COUNTERS_MAX_COUNT);
    checkNames("histograms", this.#histograms, Object.keys(part.histograms), HISTOGRAMS_MAX_COUNT);
    for (const [name, amount] of Object.entries(part.counters)) {
      this.#counters.set(name, boundedSum(this.#counters.get(name) ?? 0, amount));
    }
    for (const [name, histogram] of histograms) {
      const existing = this.#histograms.get(name);
      if (existing === undefined) this.#histograms.set(name, histogram);
      else existing.add(histogram);
    }
  }

  toMeasurements(): Measurements {
    return {
      counters: Object.fromEntries(this.#counters),
      histograms: Object.fromEntries(
        [...this.#histograms].map(([name, histogram]) => [name, histogram.encode()]),
      ),
    };
  }

  /** Forgets everything. */
  reset(): void {
    this.#counters.clear();
    this.#histograms.clear();
  }
}

const checkNames = (
  field: string,
  known: ReadonlyMap<string, unknown>,
  names: readonly string[],
  limit: number,
): void => {
  const fresh = names.reduce((count, name) => count + (known.has(name) ? 0 : 1), 0);
  if (known.size + fresh > limit) {
    throw new InvalidInputError(field, known.size + fresh, `at most ${limit} different names`);
  }
};

/** One set of measurements of all the parts. @throws InvalidInputError as {@link MeasurementSum.add}. */
export const mergeMeasurements = (parts: readonly Measurements[]): Measurements => {
  const sum = new MeasurementSum();
  for (const part of parts) sum.add(part);
  return sum.toMeasurements();
};
