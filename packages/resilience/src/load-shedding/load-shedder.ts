import { Emitter } from "@holdfast/kernel";
import { LoadShedError } from "../errors.ts";
import { CallScope } from "../execution/call-scope.ts";
import type { Body, ExecuteOptions } from "../execution/policy.ts";
import { bodyRunner } from "../execution/runner.ts";
import { checkNumber, checkOneOf } from "../option-checks.ts";
import { type OverloadLevel, type OverloadSource, overloadLevels, severityOf } from "./overload-level.ts";
import { type Priority, priorities } from "./priority.ts";

/**
 * The highest severity at which each priority is still served. Healthy sheds none, busy sheds low, stressed
 * normal and low, overloaded everything but critical.
 */
const SERVED_UP_TO: Readonly<Record<Priority, OverloadLevel>> = {
  critical: "overloaded",
  high: "stressed",
  normal: "busy",
  low: "healthy",
};

/** Whether work of this priority is refused at this level. */
export const isShed = (level: OverloadLevel, priority: Priority): boolean =>
  severityOf(level) > severityOf(SERVED_UP_TO[priority]);

export interface LoadShedderOptions {
  /** Where the level comes from; read at every call. */
  readonly source: OverloadSource;
  /** The pause that a refusal asks for, in milliseconds from 0. Default 1_000. */
  readonly retryAfterMs?: number;
}

/** For each priority `offeredCount = admittedCount + shedCount`. */
export interface LoadShedderStats {
  readonly level: OverloadLevel;
  readonly byPriority: Readonly<
    Record<
      Priority,
      { readonly offeredCount: number; readonly admittedCount: number; readonly shedCount: number }
    >
  >;
}

export interface LoadShedderEvents {
  shed: { readonly priority: Priority; readonly level: OverloadLevel };
}

/** Refuses the less important work first when the process is loaded. Critical work always passes. */
export class LoadShedder {
  readonly events = new Emitter<LoadShedderEvents>();
  readonly #source: OverloadSource;
  readonly #retryAfterMs: number;
  readonly #admitted: Record<Priority, number> = { critical: 0, high: 0, normal: 0, low: 0 };
  readonly #shed: Record<Priority, number> = { critical: 0, high: 0, normal: 0, low: 0 };

  /** @throws InvalidInputError naming the option that is out of range. */
  constructor(options: LoadShedderOptions) {
    checkOneOf("shedder.source.level", options.source?.level, overloadLevels);
    this.#source = options.source;
    this.#retryAfterMs = checkNumber("shedder.retryAfterMs", options.retryAfterMs ?? 1_000, { min: 0 });
  }

  get stats(): LoadShedderStats {
    const of = (priority: Priority) => ({
      offeredCount: this.#admitted[priority] + this.#shed[priority],
      admittedCount: this.#admitted[priority],
      shedCount: this.#shed[priority],
    });
    return {
      level: this.#source.level,
      byPriority: { critical: of("critical"), high: of("high"), normal: of("normal"), low: of("low") },
    };
  }

  /** Counts the offer and says whether the work may start. @throws InvalidInputError for an unknown priority. */
  tryAdmit(priority: Priority): boolean {
    checkOneOf("priority", priority, priorities);
    const { level } = this.#source;
    if (!isShed(level, priority)) {
      this.#admitted[priority] += 1;
      return true;
    }
    this.#shed[priority] += 1;
    this.events.emit("shed", { priority, level });
    return false;
  }

  /** As `tryAdmit`. @throws LoadShedError when the work may not start; retryable, nothing was done. */
  admit(priority: Priority): void {
    if (this.tryAdmit(priority)) return;
    throw new LoadShedError(priority, this.#source.level, { retryAfterMs: this.#retryAfterMs });
  }

  /**
   * Calls `body` unless work of this priority is shed now.
   * @throws LoadShedError when it is; retryable, nothing was done.
   */
  async execute<T>(body: Body<T>, options: ExecuteOptions & { readonly priority: Priority }): Promise<T> {
    const scope = CallScope.open(options);
    try {
      scope.throwIfAborted();
      this.admit(options.priority);
      return await bodyRunner.run(body, scope);
    } finally {
      scope.close();
    }
  }
}
