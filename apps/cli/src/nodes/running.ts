import type { Session } from "../terminal/session.ts";

/** How long a stopping node lets running shards and requests finish before it gives them back. */
const DRAIN_MS = 5_000;

/** Something that was started and must be stopped, in the reverse order of starting. */
export interface Part {
  readonly name: string;
  stop(options: { readonly drainMs: number }): Promise<void>;
}

/**
 * Keeps the parts of a process: what was started before a failure is stopped again, and on Ctrl-C everything
 * drains in reverse order.
 */
export class RunningParts {
  readonly #parts: Part[] = [];

  add(part: Part): void {
    this.#parts.push(part);
  }

  /** Runs until the session is aborted, then stops everything. */
  async untilStopped(session: Session): Promise<void> {
    if (!session.signal.aborted) {
      await new Promise<void>((resolve) =>
        session.signal.addEventListener("abort", () => resolve(), { once: true }),
      );
    }
    await this.stop();
  }

  /** Stops all parts, last started first; a part that fails to stop does not keep the others running. */
  async stop(): Promise<void> {
    const failures: unknown[] = [];
    for (const part of this.#parts.splice(0).reverse()) {
      try {
        await part.stop({ drainMs: DRAIN_MS });
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw new AggregateError(failures, "some parts did not stop cleanly");
  }
}
