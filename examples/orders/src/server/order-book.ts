import type { Cache, Database, StatementRunner } from "@holdfast/data";
import type { EventOrigin } from "@holdfast/live/model";

export const ORDER_CHANNEL = "order";
/** The tag of every list of orders in the cache. */
export const LISTS_TAG = "orders";

/** One order, as the pages see it. */
export interface Order {
  readonly id: string;
  readonly item: string;
  readonly quantity: number;
  readonly status: "open" | "shipped";
  /** Grows with each change; who changes an order says which version they saw. */
  readonly version: number;
}

/** What a change did, told to everybody: the ids only, pages fetch what they show. */
export interface OrderEvent {
  readonly event: "created" | "updated" | "deleted";
  readonly entityId: string;
  readonly origin: EventOrigin;
}

/** Writes the event in the transaction of the change, or does nothing where it is announced afterwards. */
export type Tell = (tx: StatementRunner, event: OrderEvent) => Promise<void>;

export type ChangeOutcome =
  | { readonly kind: "done"; readonly order: Order }
  | { readonly kind: "conflict"; readonly order: Order }
  | { readonly kind: "missing" };

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS orders (
    number   integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    item     text NOT NULL,
    quantity integer NOT NULL CHECK (quantity > 0),
    status   text NOT NULL DEFAULT 'open',
    version  integer NOT NULL DEFAULT 1
  );
  CREATE TABLE IF NOT EXISTS order_mutations (
    mutation text PRIMARY KEY,
    answer   jsonb NOT NULL
  )`;
const COLUMNS = "'o-' || number AS id, item, quantity, status, version";

const numberOf = (id: string): number => Number(/^o-(\d{1,9})$/.exec(id)?.[1] ?? 0);

/**
 * The shop's orders in SQL: the only truth. Each change is one transaction with its event and with the answer under
 * the mutation's id, so that a change that is sent twice is made once. When it resolves, no list is served from the
 * cache any more that lacks it.
 */
export class OrderBook {
  readonly #sql: Database;
  readonly #cache: Cache;
  readonly #tell: Tell;

  private constructor(sql: Database, cache: Cache, tell: Tell) {
    this.#sql = sql;
    this.#cache = cache;
    this.#tell = tell;
  }

  static async open(sql: Database, cache: Cache, tell: Tell): Promise<OrderBook> {
    await sql.query(SCHEMA);
    return new OrderBook(sql, cache, tell);
  }

  /** Straight from the database. */
  list(status: string | undefined): Promise<readonly Order[]> {
    return this.#sql.query<Order & object>(
      `SELECT ${COLUMNS} FROM orders WHERE $1::text IS NULL OR status = $1 ORDER BY number`,
      [status],
    );
  }

  create(
    input: { readonly item: string; readonly quantity: number },
    origin: EventOrigin,
  ): Promise<ChangeOutcome> {
    return this.#once(origin, async (tx) => {
      const [order] = await tx.query<Order & object>(
        `INSERT INTO orders (item, quantity) VALUES ($1, $2) RETURNING ${COLUMNS}`,
        [input.item, input.quantity],
      );
      if (order === undefined) return { kind: "missing" };
      await this.#tell(tx, { event: "created", entityId: order.id, origin });
      return { kind: "done", order };
    });
  }

  update(
    id: string,
    change: {
      readonly quantity?: number | undefined;
      readonly status?: string | undefined;
      readonly version: number;
    },
    origin: EventOrigin,
  ): Promise<ChangeOutcome> {
    return this.#once(origin, async (tx) => {
      const [before] = await tx.query<Order & object>(
        `SELECT ${COLUMNS} FROM orders WHERE number = $1 FOR UPDATE`,
        [numberOf(id)],
      );
      if (before === undefined) return { kind: "missing" };
      if (before.version !== change.version) return { kind: "conflict", order: before };
      const [order = before] = await tx.query<Order & object>(
        `UPDATE orders SET quantity = $2, status = $3, version = version + 1
         WHERE number = $1 RETURNING ${COLUMNS}`,
        [numberOf(id), change.quantity ?? before.quantity, change.status ?? before.status],
      );
      await this.#tell(tx, { event: "updated", entityId: id, origin });
      return { kind: "done", order };
    });
  }

  remove(id: string, origin: EventOrigin): Promise<ChangeOutcome> {
    return this.#once(origin, async (tx) => {
      const [order] = await tx.query<Order & object>(
        `DELETE FROM orders WHERE number = $1 RETURNING ${COLUMNS}`,
        [numberOf(id)],
      );
      if (order === undefined) return { kind: "missing" };
      await this.#tell(tx, { event: "deleted", entityId: id, origin });
      return { kind: "done", order };
    });
  }

  /** The answer of the first time for a mutation that comes again, after a lost answer for example. */
  #once(
    { mutation }: EventOrigin,
    body: (tx: StatementRunner) => Promise<ChangeOutcome>,
  ): Promise<ChangeOutcome> {
    return this.#cache.transaction(async (tx, changes) => {
      changes.invalidateTag(LISTS_TAG);
      if (mutation === undefined) return body(tx);
      const [known] = await tx.query<{ answer: ChangeOutcome }>(
        "SELECT answer FROM order_mutations WHERE mutation = $1",
        [mutation],
      );
      if (known !== undefined) return known.answer;
      const outcome = await body(tx);
      // A conflict is no change: with the newer version the same mutation may be made after all.
      if (outcome.kind !== "conflict") {
        await tx.query("INSERT INTO order_mutations (mutation, answer) VALUES ($1, $2)", [mutation, outcome]);
      }
      return outcome;
    });
  }
}
