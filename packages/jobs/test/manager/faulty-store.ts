import type { CoordinationStore, Leases } from "@holdfast/coordination";
import { StoreUnavailableError } from "@holdfast/coordination";
import { OutcomeUnknownError } from "@holdfast/kernel";
import type { JobStore, JobTable, NewJobRow } from "../../src/model/job-table.ts";

type Fault = "unavailable" | "unknown-committed" | "unknown-rolled-back";

/** A store whose transactions and leases fail as the test wants. Two managers may see one store through two of these. */
export class FaultyStore implements JobStore {
  readonly coordination: CoordinationStore;
  readonly jobs: JobTable<unknown>;
  /** What the next transactions meet, one each. */
  readonly faults: Fault[] = [];
  isCutOff = false;
  /** Refuses rows as a database refuses a text that it cannot store. */
  refuses: (row: NewJobRow) => boolean = () => false;
  /** The store behind. */
  readonly inner: JobStore;

  constructor(inner: JobStore) {
    this.inner = inner;
    const { coordination, jobs } = inner;
    const check = (operation: string): void => {
      if (this.isCutOff) throw new StoreUnavailableError(operation);
    };
    const cutOff = <T extends object>(target: T): T =>
      new Proxy(target, {
        get: (object, name) => {
          const member = Reflect.get(object, name) as unknown;
          if (typeof member !== "function") return member;
          return (...values: unknown[]) => {
            check(String(name));
            return (member as (...all: unknown[]) => unknown).apply(object, values);
          };
        },
      });
    const leases: Leases<unknown> = cutOff(coordination.leases);
    const log = cutOff(coordination.log);
    const queues = new Map<string, ReturnType<CoordinationStore["queue"]>>();
    this.coordination = {
      leases,
      log,
      states: coordination.states,
      queue: (name) => {
        const queue = queues.get(name) ?? cutOff(coordination.queue(name));
        queues.set(name, queue);
        return queue;
      },
      transaction: (body, options) => this.#transaction(body, options, check),
      now: (options) => coordination.now(options),
      close: () => coordination.close(),
      [Symbol.asyncDispose]: () => coordination.close(),
    };
    this.jobs = new Proxy(cutOff(jobs), {
      get: (object, name) => {
        if (name !== "insert") return Reflect.get(object, name) as unknown;
        return async (rows: readonly NewJobRow[], tx: unknown) => {
          if (rows.some((row) => this.refuses(row))) throw new Error("value not storable");
          return jobs.insert(rows, tx);
        };
      },
    });
  }

  async #transaction<T>(
    body: (tx: unknown) => Promise<T>,
    options: Parameters<CoordinationStore["transaction"]>[1],
    check: (operation: string) => void,
  ): Promise<T> {
    check("transaction");
    const fault = this.faults.shift();
    if (fault === "unavailable") throw new StoreUnavailableError("transaction");
    if (fault === undefined) return this.inner.coordination.transaction(body, options);
    const lost = new OutcomeUnknownError("COMMIT");
    await this.inner.coordination.transaction(async (tx) => {
      await body(tx);
      if (fault === "unknown-rolled-back") throw lost;
    }, options);
    throw lost;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.inner[Symbol.asyncDispose]();
  }
}
