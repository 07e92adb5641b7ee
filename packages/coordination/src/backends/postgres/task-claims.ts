import type { Abortable, Clock } from "@holdfast/kernel";
import type { Notifier } from "../../notifier.ts";
import { priorityRanks } from "../../queue/queue-checks.ts";
import type { TaskPriority } from "../../queue/task-queue.ts";
import { returnsKey } from "../../wake-ups.ts";
import { arrayLiteral } from "./array-literal.ts";
import { ClaimCursor, type Places } from "./claim-cursor.ts";
import type { SqlExecutor } from "./sql-client.ts";
import type { StatementRunner } from "./statement-runner.ts";
import type { ClaimRow } from "./task-rows.ts";

interface ClaimOptions extends Abortable {
  readonly worker: string;
  readonly maxCount: number;
  readonly leaseMs: number;
  readonly types?: readonly string[];
  readonly priorities?: readonly TaskPriority[];
  readonly tx?: SqlExecutor;
}

/** So many sets of types that claims ask for keep their place in the queue, those that were asked for last. */
const CURSORS_MAX_COUNT = 16;

/** Takes tasks of one queue, in whichever way its settings ask for. */
export class TaskClaims {
  readonly #queue: string;
  readonly #statements: StatementRunner;
  readonly #notifier: Notifier;
  readonly #clock: Clock;
  /** By the types that are asked for, as JSON, undefined for all; asked for last comes last. */
  readonly #cursors = new Map<string | undefined, ClaimCursor>();
  #lastCursor: ClaimCursor | undefined;
  #isHearing = false;
  /** The queue had settings when it was last claimed from. */
  #isLimited = false;
  #forgets = false;

  constructor(
    queue: string,
    parts: { readonly statements: StatementRunner; readonly notifier: Notifier; readonly clock: Clock },
  ) {
    this.#queue = queue;
    this.#statements = parts.statements;
    this.#notifier = parts.notifier;
    this.#clock = parts.clock;
  }

  /** The task claimed last is not kept when it is completed. A guess about the next completions. */
  get forgets(): boolean {
    return this.#forgets;
  }

  /** Tasks came back to their old places: the next claim looks from the beginning. */
  lookAgain(): void {
    for (const cursor of this.#cursors.values()) cursor.reset();
  }

  /** Where claims like the last one have come to, when looking from the beginning is dear. */
  get front(): Places | undefined {
    return this.#lastCursor?.front;
  }

  /** From now on looks again whenever anybody announces such tasks, for as long as the store lives. */
  hearOfReturns(): void {
    if (this.#isHearing) return;
    this.#isHearing = true;
    this.#notifier.subscribe(returnsKey(this.#queue), () => this.lookAgain());
  }

  async claim(options: ClaimOptions): Promise<readonly ClaimRow[]> {
    const { types, maxCount, worker, leaseMs } = options;
    const values = [this.#queue, maxCount, types === undefined ? null : arrayLiteral(types), worker, leaseMs];
    // Settings come and go while others claim, so either way of asking may answer that it is the other's turn.
    for (;;) {
      const rows = this.#isLimited
        ? await this.#statements.run<ClaimRow>(
            "claim-limited",
            [...values, arrayLiteral(priorityRanks(options.priorities))],
            options,
          )
        : await this.#claimFreely(values, options);
      if (rows.length !== 1 || rows[0]?.id !== null) {
        this.#forgets = rows[0] === undefined ? this.#forgets : !rows[0].keep;
        return rows;
      }
      this.#isLimited = !this.#isLimited;
    }
  }

  async #claimFreely(values: readonly unknown[], options: ClaimOptions): Promise<readonly ClaimRow[]> {
    const { types, maxCount, priorities } = options;
    const cursor = this.#cursorOf(types);
    for (let hasGoneOn = false; ; hasGoneOn = true) {
      const look = cursor.begin();
      const rows = await this.#statements.run<ClaimRow>(
        "claim-tasks",
        [...values, ...only(priorities, look.from)],
        options,
      );
      if (rows[0]?.id === null) return rows;
      // Where only some priorities were looked at, nothing is known of the others.
      if (priorities === undefined) cursor.end(look, rows, maxCount);
      else if (rows.length < maxCount) cursor.lookSoon();
      // Nothing where the last claim ended: once more from farther back, if that is due.
      if (rows.length > 0 || look.reach !== undefined || hasGoneOn) return rows;
    }
  }

  #cursorOf(types: readonly string[] | undefined): ClaimCursor {
    const key = types && JSON.stringify(types);
    const cursor = this.#cursors.get(key) ?? new ClaimCursor(this.#clock);
    if (cursor === this.#lastCursor) return cursor;
    this.#lastCursor = cursor;
    this.#cursors.delete(key);
    this.#cursors.set(key, cursor);
    if (this.#cursors.size > CURSORS_MAX_COUNT) this.#cursors.delete(this.#cursors.keys().next().value);
    return cursor;
  }
}

/** The same places, but behind everything for priorities that are not asked for. */
const only = (priorities: readonly TaskPriority[] | undefined, after: Places): Places => {
  if (priorities === undefined) return after;
  const ranks = priorityRanks(priorities);
  return after.map((place, index) =>
    ranks.includes(3 - (index >> 1)) ? place : index % 2 === 0 ? Number.POSITIVE_INFINITY : "0",
  );
};
