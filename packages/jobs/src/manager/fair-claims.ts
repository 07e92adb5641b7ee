import type { ClaimedTask, TaskPriority, TaskQueue } from "@holdfast/coordination";
import { type Clock, keepNewest, type Logger } from "@holdfast/kernel";
import { evenShare } from "./task-priority.ts";

export interface FairClaimsOptions {
  readonly queue: Pick<TaskQueue<unknown>, "claim">;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly leaseMs: number;
}

/** After so many shards one belongs to whichever priority has its turn. */
const TURN_EVERY = 8;
/** Critical ones are first whenever it is nobody's turn: they need none. */
const PRIORITIES: readonly TaskPriority[] = ["low", "normal", "high"];
/** A priority of which too little waited for its turn is not asked for again so soon: looking costs a round trip. */
const NOTHING_FOR_MS = 1_000;
/** Kinds of workers remembered. One that is forgotten begins to count anew. */
const KINDS_MAX_COUNT = 100;

/** How far one kind of workers is. */
interface Line {
  /** Shards handed out since the last turn. */
  handedOut: number;
  /** Whose turn is next. */
  next: number;
  /** For each priority, until when nothing is expected of it. */
  readonly nothingUntil: number[];
}

/**
 * Claims shards by priority, and yet so that none waits for ever: every eighth shard goes to the lower priorities,
 * which take turns. While shards of a priority are due it gets at least one in 24 of those that workers take that
 * offer its workflow, beginning at most a second after the first of them was due, whatever else waits. (Weighted
 * round robin; aging by time would turn the order round where attempts last longer than the age.) Within a
 * priority the order is that of the queue, so nobody is overtaken there.
 */
export class FairClaims {
  readonly #options: FairClaimsOptions;
  readonly #lines = new Map<string, Line>();

  constructor(options: FairClaimsOptions) {
    this.#options = options;
  }

  /** `kind` is the same for workers that offer the same types. */
  async claim(wanted: {
    readonly worker: string;
    readonly maxCount: number;
    readonly types: readonly string[];
    readonly kind: string;
  }): Promise<readonly ClaimedTask[]> {
    const { queue, leaseMs, logger } = this.#options;
    const { worker, types, maxCount } = wanted;
    const line = this.#lineOf(wanted.kind);
    const tasks: ClaimedTask[] = [];
    const claim = async (count: number, priority?: TaskPriority): Promise<number> => {
      const priorities = priority === undefined ? {} : { priorities: [priority] };
      const found = await queue.claim({ worker, maxCount: count, leaseMs, types, ...priorities });
      tasks.push(...found);
      return found.length;
    };
    try {
      await this.#claimTurns(line, maxCount, claim);
      if (tasks.length < maxCount) await claim(maxCount - tasks.length);
    } catch (error) {
      if (tasks.length === 0) throw error;
      logger.warn({ err: error }, "a claim failed; what was claimed before it is handed out");
    }
    line.handedOut += tasks.length;
    return tasks;
  }

  async #claimTurns(
    line: Line,
    maxCount: number,
    claim: (count: number, priority: TaskPriority) => Promise<number>,
  ): Promise<void> {
    let turnCount = Math.min(maxCount, Math.floor(line.handedOut / TURN_EVERY));
    if (turnCount === 0) return;
    line.handedOut %= TURN_EVERY;
    const now = this.#options.clock.monotonicNow();
    while (turnCount > 0) {
      const hopeful = PRIORITIES.map((_, index) => (line.next + index) % PRIORITIES.length).filter(
        (index) => now >= (line.nothingUntil[index] ?? 0),
      );
      if (hopeful.length === 0) return;
      const counts = hopeful.map((_, place) => evenShare(turnCount, hopeful.length, place));
      line.next = hopeful[turnCount % hopeful.length] as number;
      // What one does not use goes to the others.
      for (const [place, index] of hopeful.entries()) {
        const count = counts[place] as number;
        if (count === 0) break;
        const found = await claim(count, PRIORITIES[index] as TaskPriority);
        if (found < count) line.nothingUntil[index] = now + NOTHING_FOR_MS;
        turnCount -= found;
      }
    }
  }

  #lineOf(kind: string): Line {
    const line = this.#lines.get(kind) ?? { handedOut: 0, next: 0, nothingUntil: [] };
    this.#lines.delete(kind);
    this.#lines.set(kind, line);
    keepNewest(this.#lines, KINDS_MAX_COUNT);
    return line;
  }
}
