import type { Json } from "@holdfast/coordination";
import type { SqlExecutor } from "@holdfast/coordination/postgres";
import { type Deferred, deferred, OverloadedError, untilAborted } from "@holdfast/kernel";
import type { ShardDatabase } from "../shard-run.ts";
import { thawErrorData } from "./error-data.ts";
import type { DatabaseCall, ToThread } from "./thread-messages.ts";

/** Most database calls of one attempt that wait for their answer. */
const CALLS_MAX_COUNT = 1_000;

type Pending =
  | { readonly kind: "query"; readonly done: Deferred<readonly object[]> }
  | {
      readonly kind: "effect";
      readonly done: Deferred<Json>;
      readonly body: (tx: SqlExecutor) => Promise<Json>;
      /** What the body threw: the workflow gets its own error back, not a copy. */
      thrown?: { readonly error: unknown };
    };

type WithoutId<Call> = Call extends unknown ? Omit<Call, "id"> : never;

/** The thread's end of the bridge to the node's database, for one attempt. */
export class ThreadDatabase {
  readonly #post: (message: WithoutId<DatabaseCall>) => void;
  readonly #pending = new Map<number, Pending>();
  #lastCall = 0;

  constructor(id: number, post: (message: DatabaseCall) => void) {
    this.#post = (message) => post({ id, ...message } as DatabaseCall);
  }

  /** The database as the attempt sees it. Waiting ends with `signal`; the node ends the statement itself. */
  of(signal: AbortSignal): ShardDatabase {
    return {
      sql: this.#executor(undefined, signal),
      effect: async (name, body) => {
        const done = deferred<Json>();
        const call = this.#begin({ kind: "effect", done, body });
        this.#post({ type: "effect", call, name });
        return (await untilAborted(done.promise, signal)) as never;
      },
    };
  }

  onMessage(message: Extract<ToThread, { readonly call: number }>): void {
    const pending = this.#pending.get(message.call);
    if (pending === undefined) return;
    if (message.type === "do-effect") {
      if (pending.kind === "effect") void this.#runBody(pending, message.transaction);
      return;
    }
    this.#pending.delete(message.call);
    if (message.type === "failed") {
      const thrown = pending.kind === "effect" ? pending.thrown : undefined;
      pending.done.reject(thrown === undefined ? thawErrorData(message.error) : thrown.error);
    } else if (message.type === "rows" && pending.kind === "query") pending.done.resolve(message.rows);
    else if (message.type === "effect-result" && pending.kind === "effect") {
      pending.done.resolve(message.result as Json);
    }
  }

  async #runBody(pending: Extract<Pending, { kind: "effect" }>, transaction: number): Promise<void> {
    try {
      const result = await pending.body(this.#executor(transaction, undefined));
      this.#post({ type: "commit", transaction, result });
    } catch (error) {
      pending.thrown = { error };
      this.#post({ type: "rollback", transaction });
    }
  }

  #executor(transaction: number | undefined, signal: AbortSignal | undefined): SqlExecutor {
    return {
      query: async (text, values = [], options = {}) => {
        signal?.throwIfAborted();
        options.signal?.throwIfAborted();
        const done = deferred<readonly object[]>();
        const call = this.#begin({ kind: "query", done });
        try {
          this.#post({ type: "query", call, transaction, text, values });
        } catch (error) {
          this.#pending.delete(call);
          throw error;
        }
        const rows = await untilAborted(untilAborted(done.promise, options.signal), signal);
        return rows as never;
      },
    };
  }

  #begin(pending: Pending): number {
    if (this.#pending.size >= CALLS_MAX_COUNT)
      throw new OverloadedError("database calls of one shard", CALLS_MAX_COUNT);
    this.#lastCall += 1;
    this.#pending.set(this.#lastCall, pending);
    // An answer that comes after the waiting was aborted must not become an unhandled rejection.
    pending.done.promise.catch(() => undefined);
    return this.#lastCall;
  }
}
