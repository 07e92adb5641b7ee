import type { Abortable, Clock } from "@holdfast/kernel";
import { FAILURES_MAX_COUNT, LAPSED_ERROR_TEXT } from "../../queue/task-draft.ts";
import type { LapsedTask } from "../../queue/task-queue.ts";
import { ClaimCursor, type Places } from "./claim-cursor.ts";
import { LapseWindow } from "./lapse-window.ts";
import type { SqlExecutor } from "./sql-client.ts";
import type { StatementRunner } from "./statement-runner.ts";

/** Leases that end later are left out where looking at them is dear. */
const AHEAD_MS = 1_000;

interface LapsedTasksParts {
  readonly statements: StatementRunner;
  readonly clock: Clock;
  /** What is announced when tasks are back in their places. */
  readonly returned: string;
}

/** Finds claims of one queue whose lease ran out. */
export class LapsedTasks {
  readonly #queue: string;
  readonly #statements: StatementRunner;
  readonly #returned: string;
  readonly #window: LapseWindow;

  constructor(queue: string, parts: LapsedTasksParts) {
    this.#queue = queue;
    this.#statements = parts.statements;
    this.#returned = parts.returned;
    this.#window = new LapseWindow(parts.clock);
  }

  async recover(
    limit: number,
    options: Abortable & { readonly tx?: SqlExecutor },
  ): Promise<readonly LapsedTask[]> {
    const look = this.#window.begin();
    const rows = await this.#statements.run<{
      readonly id: string;
      readonly task_group: string | null;
      readonly attempt: number;
      readonly worker: string;
      readonly outcome: LapsedTask["outcome"];
    }>(
      "recover-tasks",
      [this.#queue, limit, LAPSED_ERROR_TEXT, FAILURES_MAX_COUNT, this.#returned, look.windowMs],
      options,
    );
    // What a transaction took back it may put where it was.
    if (options.tx === undefined) this.#window.end(look, rows.length < limit);
    return rows.map(({ id, task_group, attempt, worker, outcome }) => ({
      id,
      group: task_group ?? undefined,
      attempt,
      worker,
      outcome,
    }));
  }

  /**
   * How long until one of these lapses, or until a pending task is due, of those after `front` if there is one. Where
   * something is left out, because looking at it is dear, at most a second.
   */
  async nextDueInMs(front: Places | undefined, options: Abortable): Promise<number | undefined> {
    const { windowMs } = this.#window;
    const [row] = await this.#statements.run<{ readonly due_in_ms: number | null }>(
      "next-due",
      [this.#queue, ...(front ?? ClaimCursor.beginning), windowMs, windowMs === null ? null : AHEAD_MS],
      options,
    );
    const leavesOut = front !== undefined || windowMs !== null;
    const dueInMs = row?.due_in_ms ?? (leavesOut ? AHEAD_MS : undefined);
    if (dueInMs === undefined) return undefined;
    return Math.min(Math.max(0, Number(dueInMs)), leavesOut ? AHEAD_MS : Number.POSITIVE_INFINITY);
  }
}
