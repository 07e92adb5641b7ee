import type { Json } from "@holdfast/coordination";
import type { SqlExecutor } from "@holdfast/coordination/postgres";
import { type Deferred, deferred, untilAborted } from "@holdfast/kernel";
import type { Assignment } from "@holdfast/protocol/contract";
import type { ShardDatabase } from "../shard-run.ts";
import { databaseOf, type WorkerDatabase } from "../worker-database.ts";
import { freezeError } from "./error-data.ts";
import type { DatabaseCall, ToThread } from "./thread-messages.ts";

type WithoutId<Message> = Message extends unknown ? Omit<Message, "id"> : never;
type Answer = WithoutId<Extract<ToThread, { readonly call: number }>>;

/** The body of an effect rolled back; the thread knows why. */
class RolledBack extends Error {}

/**
 * The node's end of the bridge for one attempt: does in the worker's database what the thread asks for. When
 * the attempt ends, whichever way, its open transactions roll back and its statements are aborted.
 */
export class DatabaseBridge {
  readonly #database: ShardDatabase;
  readonly #post: (message: Answer) => void;
  readonly #controller = new AbortController();
  readonly #transactions = new Map<number, { readonly tx: SqlExecutor; readonly done: Deferred<Json> }>();
  #lastTransaction = 0;

  constructor(
    database: WorkerDatabase,
    attempt: { readonly id: number; readonly assignment: Assignment },
    post: (message: ToThread) => void,
  ) {
    this.#database = databaseOf(database, attempt.assignment, this.#controller.signal);
    this.#post = (message) => post({ id: attempt.id, ...message } as ToThread);
  }

  onCall(call: DatabaseCall): void {
    if (this.#controller.signal.aborted) return;
    if (call.type === "query") void this.#query(call);
    else if (call.type === "effect") void this.#effect(call);
    else {
      const open = this.#transactions.get(call.transaction);
      if (call.type === "commit") open?.done.resolve(call.result as Json);
      else open?.done.reject(new RolledBack());
    }
  }

  /** Rolls back and aborts whatever is open. */
  close(reason: unknown): void {
    this.#controller.abort(reason);
  }

  async #query({ call, transaction, text, values }: Extract<DatabaseCall, { type: "query" }>): Promise<void> {
    try {
      const sql = transaction === undefined ? this.#database.sql : this.#transactions.get(transaction)?.tx;
      if (sql === undefined) throw new Error("the transaction of this statement has ended");
      this.#answer({ type: "rows", call, rows: await sql.query(text, values) });
    } catch (error) {
      this.#answer({ type: "failed", call, error: freezeError(error) });
    }
  }

  async #effect({ call, name }: Extract<DatabaseCall, { type: "effect" }>): Promise<void> {
    try {
      const result = await this.#database.effect(name, (tx) => this.#body(call, tx));
      this.#answer({ type: "effect-result", call, result });
    } catch (error) {
      this.#answer({ type: "failed", call, error: freezeError(error) });
    }
  }

  /** Lets the thread run the body; statements come as queries that name the transaction. */
  async #body<T extends Json>(call: number, tx: SqlExecutor): Promise<T> {
    this.#lastTransaction += 1;
    const transaction = this.#lastTransaction;
    const done = deferred<Json>();
    this.#transactions.set(transaction, { tx, done });
    try {
      this.#answer({ type: "do-effect", call, transaction });
      return (await untilAborted(done.promise, this.#controller.signal)) as T;
    } finally {
      this.#transactions.delete(transaction);
    }
  }

  #answer(message: Answer): void {
    if (!this.#controller.signal.aborted) this.#post(message);
  }
}
