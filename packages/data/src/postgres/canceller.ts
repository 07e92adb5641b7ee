import { type Clock, type Deferred, deferred } from "@holdfast/kernel";
import type { InFlight } from "./in-flight.ts";

/** How long a cancelled statement may take to end before the connection is cut. */
export const CANCEL_GRACE_MS = 5_000;
/** When to repeat a cancel that had no effect; each pause is twice as long as the one before. */
const CANCEL_AGAIN_MS = 20;

export interface CancellerOptions {
  readonly clock: Clock;
  /** In the order in which they were sent; the first one runs. It changes. */
  readonly inFlight: readonly InFlight[];
  /** Asks the server to cancel whatever runs on the connection. Must not throw. */
  readonly requestCancel: () => Promise<void>;
  /** Cuts the connection, which ends every statement. */
  readonly cut: () => void;
  /** Lets a cancel that came too late hit a statement of nobody. */
  readonly exchangeNothing: () => Promise<void>;
}

/** Cancels the statements of one connection that nobody waits for any more. */
export class Canceller {
  readonly #options: CancellerOptions;
  #underWay: Promise<void> | undefined;
  /** What it waits for. */
  #change: Deferred<void> | undefined;

  constructor(options: CancellerOptions) {
    this.#options = options;
  }

  /** Resolves when no statement is given up any more; undefined when none is. Nothing must be sent until then. */
  get underWay(): Promise<void> | undefined {
    return this.#underWay;
  }

  /** One more statement was given up. */
  begin(): void {
    this.wake();
    this.#underWay ??= this.#run();
  }

  /** A statement has ended, or was given up. */
  wake(): void {
    this.#change?.resolve();
    this.#change = undefined;
  }

  /**
   * Asks the server to cancel, and cuts the connection when a statement does not end soon after. A cancel reaches
   * whatever runs, so one that waits behind others is cancelled when its turn comes; and one that comes before
   * the statement has begun reaches nothing, so it is repeated. Nothing new is sent meanwhile, and at the end a
   * cancel that came too late is let hit a statement of nobody.
   */
  async #run(): Promise<void> {
    const { clock, inFlight, requestCancel, cut, exchangeNothing } = this.#options;
    for (let head = inFlight[0]; head !== undefined; head = inFlight[0]) {
      if (!head.isGivenUp) {
        await this.#nextChange();
        continue;
      }
      const timer = clock.schedule(CANCEL_GRACE_MS, cut);
      for (const statement of inFlight) statement.isExposed = statement !== head;
      for (let pauseMs = CANCEL_AGAIN_MS; inFlight[0] === head; pauseMs *= 2) {
        await requestCancel();
        if (inFlight[0] === head) await this.#nextChange(pauseMs);
      }
      timer.cancel();
    }
    await exchangeNothing();
    this.#underWay = undefined;
  }

  /** Resolves when the next statement ends or is given up, or after `pauseMs`. */
  async #nextChange(pauseMs?: number): Promise<void> {
    this.#change ??= deferred();
    const { promise } = this.#change;
    const timer =
      pauseMs === undefined ? undefined : this.#options.clock.schedule(pauseMs, () => this.wake());
    await promise;
    timer?.cancel();
  }
}
