import type { Clock } from "@holdfast/kernel";
import type { ClaimRow } from "./task-rows.ts";

/** Looks that are cheap are taken this often. */
const LOOK_EVERY_MS = 200;
/** What the looks of one reach may cost: this share of the time. */
const LOOK_SHARE = 0.01;
/** A look that costs no more than this is taken at once when a claim did not find all it asked for. */
const CHEAP_MS = 10;
/** How far back looks reach: to where claims ended so long ago, and to the beginning. */
const REACHES_MS = [1_000, 8_000, 64_000, Number.POSITIVE_INFINITY] as const;
/** How often it is noted where claims have come to. */
const NOTE_EVERY_MS = 250;

/** Due time in microseconds and seq, by priority from critical to low; nulls for the beginning. */
export type Places = readonly (number | string | null)[];

const BEGINNING: Places = Array.from({ length: 8 }, () => null);

/** A claim that is on its way. */
export interface Look {
  readonly from: Places;
  /** Which of the reaches it has; undefined when it goes on where the last claim ended. */
  readonly reach: number | undefined;
  readonly startedAt: number;
  readonly resetCount: number;
}

/**
 * Where claims of a queue that ask for the same types begin to look, so that they need not walk over what earlier ones took.
 *
 * The index that claims walk keeps entries of tasks that are gone until vacuum has removed them, and a transaction that
 * stays open anywhere in the database holds vacuum up. A claim therefore begins where the last one ended, priority by
 * priority. What became visible before that place since (an enqueueing whose transaction took long, a claim that was
 * rolled back) is found by looks that reach back: to where claims ended a second, eight and 64 seconds ago, and to the
 * beginning. Each reach is looked over every 200 ms, or, where much lies dead there, for a hundredth of the time; one
 * that is cheap also whenever a claim did not find all it asked for. So what was held up for two seconds is found by
 * looks that cost what eight seconds of claims left behind, however long that transaction stays open.
 *
 * Claims that lapsed or were given back go to before that place as well, and whoever takes them there announces it: the
 * next claim of each who hears it looks from the beginning.
 */
export class ClaimCursor {
  readonly #clock: Clock;
  #after: Places = BEGINNING;
  #movedAt = Number.NEGATIVE_INFINITY;
  /** When each reach is to be looked over again, and what that cost more than a claim that goes on, when it was last. */
  readonly #againAt = REACHES_MS.map(() => Number.NEGATIVE_INFINITY);
  readonly #costMs = REACHES_MS.map(() => 0);
  /** Where claims had come to, oldest first. */
  #notes: { readonly at: number; readonly after: Places }[] = [];
  /** What a claim takes that goes on, and how many tasks it finds, on the average. */
  #onwardMs = 0;
  #onwardCount = 0;
  #resetCount = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** What stands for the beginning. */
  static get beginning(): Places {
    return BEGINNING;
  }

  /** Where claims have come to, when looking from the beginning is dear; what came late may lie before it. */
  get front(): Places | undefined {
    return this.#isCheap(WHOLE) ? undefined : this.#after;
  }

  /** Begins a claim: at the farthest place that is due to be looked over, or where the last one ended. */
  begin(): Look {
    const startedAt = this.#clock.monotonicNow();
    const look = { startedAt, resetCount: this.#resetCount };
    const reach = this.#againAt.findLastIndex((at) => at <= startedAt);
    if (reach < 0) return { ...look, from: this.#after, reach: undefined };
    return { ...look, from: this.#placesOf(reach, startedAt), reach };
  }

  /** Ends a claim that asked for `maxCount` tasks, with what it found in claim order. */
  end(look: Look, rows: readonly ClaimRow[], maxCount: number): void {
    const now = this.#clock.monotonicNow();
    if (look.reach === undefined) this.#learn(now - look.startedAt, rows.length);
    else if (look.resetCount === this.#resetCount) this.#looked(look.reach, now, look.startedAt, rows.length);
    // A look that found less than it might have has seen all there is: claims go on where they were.
    this.#move(rows, now, look.reach !== undefined && rows.length === maxCount);
    if (rows.length < maxCount) this.lookSoon();
  }

  /** A claim did not find all it asked for: the farthest look that is cheap is due. */
  lookSoon(): void {
    const reach = this.#costMs.findLastIndex((_, index) => this.#isCheap(index));
    if (reach >= 0) this.#againAt[reach] = Number.NEGATIVE_INFINITY;
  }

  /** The next claim looks from the beginning, whatever those find that are on their way. */
  reset(): void {
    this.#resetCount += 1;
    this.#againAt[WHOLE] = Number.NEGATIVE_INFINITY;
  }

  #isCheap(reach: number): boolean {
    return (this.#costMs[reach] as number) <= CHEAP_MS;
  }

  #learn(tookMs: number, count: number): void {
    const weight = this.#onwardMs === 0 ? 1 : 1 / 8;
    this.#onwardMs += (tookMs - this.#onwardMs) * weight;
    this.#onwardCount += (count - this.#onwardCount) * weight;
  }

  #looked(farthest: number, now: number, startedAt: number, count: number): void {
    const claimMs = this.#onwardMs * Math.max(1, count / Math.max(1, this.#onwardCount));
    this.#costMs[farthest] = Math.max(0, now - startedAt - claimMs);
    // What was looked over from farther back was looked over from nearer as well.
    for (let reach = 0; reach <= farthest; reach += 1) {
      this.#againAt[reach] = now + Math.max(LOOK_EVERY_MS, (this.#costMs[reach] as number) / LOOK_SHARE);
    }
  }

  #placesOf(reach: number, now: number): Places {
    const at = now - (REACHES_MS[reach] as number);
    if (this.#movedAt <= at && reach !== WHOLE) return this.#after;
    return this.#notes.findLast((note) => note.at <= at)?.after ?? BEGINNING;
  }

  #move(rows: readonly ClaimRow[], now: number, mayGoBack: boolean): void {
    if (rows.length === 0) return;
    this.#note(now);
    const after = [...this.#after];
    for (const { priority, run_us, seq } of rows) {
      const index = 2 * (3 - priority);
      const runUs = Math.round(Number(run_us));
      if (!mayGoBack && isBefore(runUs, seq, this.#after[index], this.#after[index + 1])) continue;
      after[index] = runUs;
      after[index + 1] = seq;
    }
    this.#after = after;
    this.#movedAt = now;
  }

  #note(now: number): void {
    const last = this.#notes.at(-1);
    if (last !== undefined && now - last.at < NOTE_EVERY_MS) return;
    this.#notes.push({ at: now, after: this.#after });
    const gone = this.#notes.findLastIndex(({ at }) => at <= now - FARTHEST_MS);
    if (gone > 0) this.#notes.splice(0, gone);
  }
}

type Part = Places[number] | undefined;

const isBefore = (runUs: number, seq: string, otherUs: Part, otherSeq: Part): boolean =>
  otherUs !== null &&
  (runUs < Number(otherUs) || (runUs === Number(otherUs) && BigInt(seq) < BigInt(otherSeq ?? 0)));

const WHOLE = REACHES_MS.length - 1;
const FARTHEST_MS = REACHES_MS[WHOLE - 1] as number;
