import type { Json } from "@holdfast/coordination";
import { isHoldfastError } from "@holdfast/kernel";
import type { Measurements } from "@holdfast/protocol/contract";
import { approximateBytes } from "../model/approximate-bytes.ts";
import { boundedSum } from "../model/bounded-sum.ts";
import { MeasurementSum } from "../model/measurements.ts";
import { sentBytes } from "./assignment-size.ts";

/** What a completed shard left behind, as its task keeps it. */
export interface ShardResult {
  readonly output: Json;
  readonly totals: Measurements;
  readonly progress: { readonly done: number; readonly total: number };
}

/** Outputs kept per workflow: the first 1000 shards, and of these the first 512 KiB. A log entry takes 1 MiB. */
export const OUTPUTS_MAX_COUNT = 1_000;
export const OUTPUTS_MAX_BYTES = 512 * 1024;

const COMPLETED = 1;
const DEAD = 2;

/**
 * Which shards of a workflow ended how, and the sum of what they measured. Every shard counts once, whatever
 * is reported how often, and the order in which shards end makes no difference to the result.
 */
export class ShardResults {
  readonly shardCount: number;
  readonly #ends: Uint8Array;
  #completedCount = 0;
  #deadCount = 0;
  /** A single part stays as it came: most workflows have one shard, and merging decodes histograms. */
  #single: Measurements | undefined;
  #sum: MeasurementSum | undefined;
  #refusedCount = 0;
  readonly #outputs = new Map<number, { readonly output: Json; readonly sizeBytes: number }>();
  #outputBytes = 0;
  /** Shards that returned something, and how many of these are kept. */
  #returnedCount = 0;
  #keptCount = 0;
  /** Outputs of this shard and later ones are not kept. */
  #outputLimit = OUTPUTS_MAX_COUNT;
  #sentBytes: number | undefined;
  #done = 0;
  #total = 0;

  constructor(shardCount: number) {
    this.shardCount = shardCount;
    this.#ends = new Uint8Array(shardCount);
  }

  get completedCount(): number {
    return this.#completedCount;
  }

  get deadCount(): number {
    return this.#deadCount;
  }

  /** Parts whose measurements could not be added because the workflow has too many different names. */
  get refusedCount(): number {
    return this.#refusedCount;
  }

  get isComplete(): boolean {
    return this.#completedCount === this.shardCount;
  }

  /** Sums over completed shards. */
  get progress(): { readonly done: number; readonly total: number } {
    return { done: this.#done, total: this.#total };
  }

  has(shard: number): boolean {
    return Number.isInteger(shard) && shard >= 0 && shard < this.shardCount;
  }

  isOpen(shard: number): boolean {
    return this.#ends[shard] === 0;
  }

  isCompleted(shard: number): boolean {
    return this.#ends[shard] === COMPLETED;
  }

  /** False when this shard had ended already or does not exist: nothing was counted. */
  complete(shard: number, result: ShardResult): boolean {
    if (!this.isOpen(shard)) return false;
    this.#ends[shard] = COMPLETED;
    this.#completedCount += 1;
    this.#done = boundedSum(this.#done, result.progress.done);
    this.#total = boundedSum(this.#total, result.progress.total);
    this.#addTotals(result.totals);
    this.#addOutput(shard, result.output);
    return true;
  }

  /** False when this shard had ended already or does not exist. */
  markDead(shard: number): boolean {
    if (!this.isOpen(shard)) return false;
    this.#ends[shard] = DEAD;
    this.#deadCount += 1;
    return true;
  }

  totals(): Measurements {
    return this.#sum?.toMeasurements() ?? this.#single ?? { counters: {}, histograms: {} };
  }

  /** By shard number, from shard 0 up to the limits; null where a shard has not completed. */
  outputs(): Json[] {
    const outputs: Json[] = [];
    const highest = this.#highestOutput();
    for (let shard = 0; shard <= highest; shard += 1) {
      outputs.push(this.#outputs.get(shard)?.output ?? null);
    }
    return outputs;
  }

  /** How many shards returned something that is not among the outputs. What is null is not missed. */
  get outputsOmitted(): number {
    return this.#returnedCount - this.#keptCount;
  }

  /** Bytes of the outputs and counters as each assignment of a dependent workflow carries them. */
  sentBytes(): number {
    if (this.#sentBytes !== undefined) return this.#sentBytes;
    const bytes = sentBytes({ outputs: this.outputs(), counters: this.totals().counters });
    // What is complete stays as it is, and many may depend on it.
    if (this.isComplete) this.#sentBytes = bytes;
    return bytes;
  }

  #addTotals(totals: Measurements): void {
    if (this.#single === undefined && this.#sum === undefined) {
      this.#single = totals;
      return;
    }
    const parts = this.#single === undefined ? [totals] : [this.#single, totals];
    this.#single = undefined;
    this.#sum ??= new MeasurementSum();
    for (const part of parts) {
      try {
        this.#sum.add(part);
      } catch (error) {
        if (!isHoldfastError(error)) throw error;
        this.#refusedCount += 1;
      }
    }
  }

  /**
   * Keeps a prefix of the shards that fits. Over the limit the highest shard goes, and with it every later one:
   * it could not be part of a prefix that fits, so what remains does not depend on the order of arrival.
   */
  #addOutput(shard: number, output: Json): void {
    const returned = output === null ? 0 : 1;
    this.#returnedCount += returned;
    if (shard >= this.#outputLimit) return;
    const sizeBytes = approximateBytes(output);
    this.#outputs.set(shard, { output, sizeBytes });
    this.#outputBytes += sizeBytes;
    this.#keptCount += returned;
    while (this.#outputBytes > OUTPUTS_MAX_BYTES) {
      this.#outputLimit = this.#highestOutput();
      const left = this.#outputs.get(this.#outputLimit);
      this.#outputBytes -= left?.sizeBytes ?? 0;
      if ((left?.output ?? null) !== null) this.#keptCount -= 1;
      this.#outputs.delete(this.#outputLimit);
    }
  }

  #highestOutput(): number {
    let highest = -1;
    for (const shard of this.#outputs.keys()) if (shard > highest) highest = shard;
    return highest;
  }
}
