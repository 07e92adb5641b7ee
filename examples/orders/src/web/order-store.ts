import {
  type BroadcastClient,
  type BroadcastEvent,
  type Change,
  MutationConflictError,
  OfflineQueue,
  OptimisticStore,
  ORIGIN_CLIENT_HEADER,
  ORIGIN_MUTATION_HEADER,
  type QueryKey,
  type SendContext,
  webQueueStorage,
} from "@holdfast/live/client";

export interface Order {
  readonly id: string;
  readonly item: string;
  readonly quantity: number;
  readonly status: "open" | "shipped";
  readonly version: number;
  /** Shown, and not yet known to be saved. */
  readonly isPending?: boolean;
}

export type Filter = "all" | "open" | "shipped";

/** Only what is known of the order changes; its answer brings the rest. */
type OrderChange = Partial<Order> & Pick<Order, "id">;

/** An answer that takes longer counts as lost, and is asked for again. */
const FETCH_TIMEOUT_MS = 5_000;

export const PREFIX: QueryKey = ["order"];
export const listKey = (filter: Filter): QueryKey => ["order", { filter }];

const filterOf = (key: QueryKey): Filter => (key[1] as { filter: Filter }).filter;
const belongs = (order: Order, key: QueryKey): boolean =>
  filterOf(key) === "all" || filterOf(key) === order.status;

/** What each change does to every list that is shown, before the shop has answered. */
const mutators = {
  create: (order: Order): readonly Change[] => [
    change((rows, key) =>
      rows.some(({ id }) => id === order.id) || !belongs(order, key) ? rows : [...rows, order],
    ),
  ],
  update: (update: OrderChange): readonly Change[] => [
    change((rows, key) =>
      rows
        .map((row) => (row.id === update.id ? { ...row, isPending: false, ...update } : row))
        .filter((row) => belongs(row, key)),
    ),
  ],
  remove: ({ id }: OrderChange): readonly Change[] => [change((rows) => rows.filter((row) => row.id !== id))],
};

const change = (apply: (rows: readonly Order[], key: QueryKey) => readonly Order[]): Change => ({
  key: PREFIX,
  // The very key of the change is no list of ours.
  apply: (value, key) => (key.length === 1 || value === undefined ? value : apply(value as Order[], key)),
});

/** The shop was reached and said no. */
class RefusedError extends Error {}

/**
 * The orders of this page: lists fetched over REST, with everything drawn over them that was changed here or in
 * another tab and is not part of them yet.
 */
export class OrderStore {
  readonly queue: OfflineQueue;
  readonly store: OptimisticStore<typeof mutators>;
  readonly #client: BroadcastClient;
  readonly #shown = new Map<string, { readonly key: QueryKey; count: number }>();
  /** The newest version of each order that the shop told us. */
  readonly #versions = new Map<string, number>();
  /** What a list must have that is fetched now: the newest change that we heard of, or all there is. */
  #after: string | undefined;
  /** Changes of one order go out one after the other, each on top of the one before. */
  readonly #lines = new Map<string, Promise<unknown>>();

  constructor(client: BroadcastClient, user: string) {
    this.#client = client;
    this.queue = new OfflineQueue({
      storage: webQueueStorage(localStorage, { application: "orders", user }),
    });
    this.store = new OptimisticStore({
      mutators,
      tabs: client,
      refetch: async (keys) => {
        await Promise.all(keys.map((key) => this.fetch(key)));
      },
      offline: {
        queue: this.queue,
        sends: { create: this.#create, update: this.#update, remove: this.#remove },
      },
    });
    // What other tabs know is not fetched twice.
    client.onStateChange((state) => {
      if (state === "connected") this.queue.wake();
    });
  }

  /** Takes note of how far we have heard: a list that is fetched from now on must have that. */
  heard({ epoch, offset }: Pick<BroadcastEvent, "epoch" | "offset">): void {
    if (epoch !== undefined && offset !== undefined) this.#after = `${epoch}:${offset}`;
  }

  /** Something may have happened that we did not hear of. */
  lostTrack(): void {
    this.#after = "latest";
  }

  /** Fetches a list and keeps it true until the function that comes back is called. */
  show(key: QueryKey): () => void {
    const name = JSON.stringify(key);
    const entry = this.#shown.get(name) ?? { key, count: 0 };
    this.#shown.set(name, entry);
    entry.count += 1;
    if (entry.count === 1) void this.fetch(key);
    return () => {
      entry.count -= 1;
      if (entry.count === 0) this.#shown.delete(name);
    };
  }

  /** Fetches the lists again that are shown and concerned: what `useBroadcastInvalidation` asks of a cache. */
  async invalidateQueries(filters: {
    readonly predicate: (query: { readonly queryKey: QueryKey }) => boolean;
  }): Promise<void> {
    const concerned = [...this.#shown.values()].filter(({ key }) => filters.predicate({ queryKey: key }));
    await Promise.all(concerned.map(({ key }) => this.fetch(key)));
  }

  async fetch(key: QueryKey): Promise<void> {
    const fetching = this.store.beginRefetch(key);
    const filter = filterOf(key);
    const query = new URLSearchParams(filter === "all" ? {} : { status: filter });
    if (this.#after !== undefined) query.set("after", this.#after);
    try {
      const response = await fetch(`/api/orders?${query}`, {
        signal: AbortSignal.timeout(FETCH_TIMEOUT_MS),
        // Two in flight at a time must not share one answer.
        cache: "no-store",
      });
      if (!response.ok) throw new Error(`the shop answered ${response.status}`);
      const rows = (await response.json()) as readonly Order[];
      for (const { id, version } of rows) this.#versions.set(id, version);
      fetching.complete(rows);
    } catch {
      // The list stays as it is, and is fetched again while somebody looks at it.
      fetching.abandon();
      setTimeout(() => {
        if (this.#shown.has(JSON.stringify(key))) void this.fetch(key);
      }, 1_000);
    }
  }

  create(item: string, quantity: number): Promise<Order> {
    const id = `new-${crypto.randomUUID()}`;
    const order: Order = { id, item, quantity, status: "open", version: 0, isPending: true };
    return this.store.mutate("create", order, this.#create).done;
  }

  update(update: OrderChange): Promise<Order> {
    return this.store.mutate("update", { ...update, isPending: true }, this.#update).done;
  }

  remove(id: string): Promise<Order> {
    return this.store.mutate("remove", { id }, this.#remove).done;
  }

  readonly #create = {
    send: (context: SendContext, { item, quantity }: Order) =>
      this.#call("POST", "/api/orders", context, { item, quantity }),
    reconcile: (saved: Order) => saved,
  };

  readonly #update = {
    send: (context: SendContext, { id, isPending: _shownOnly, ...update }: OrderChange) =>
      this.#inLine(id, () => {
        const version = this.#versions.get(id) ?? 0;
        return this.#call("PATCH", `/api/orders/${id}`, context, { ...update, version });
      }),
    reconcile: (saved: Order) => saved,
  };

  readonly #remove = {
    send: (context: SendContext, { id }: OrderChange) =>
      this.#inLine(id, () => this.#call("DELETE", `/api/orders/${id}`, context)),
  };

  #inLine(id: string, send: () => Promise<Order>): Promise<Order> {
    const before = this.#lines.get(id) ?? Promise.resolve();
    const run = before.catch(() => undefined).then(send);
    this.#lines.set(id, run);
    const leave = (): void => {
      if (this.#lines.get(id) === run) this.#lines.delete(id);
    };
    run.then(leave, leave);
    return run;
  }

  async #call(method: string, path: string, { mutation }: SendContext, body?: unknown): Promise<Order> {
    const response = await fetch(path, {
      method,
      headers: {
        [ORIGIN_CLIENT_HEADER]: this.#client.id,
        [ORIGIN_MUTATION_HEADER]: mutation,
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    // A proxy whose shop is away: as good as no network.
    if (response.status >= 502 && response.status <= 504) throw new TypeError("the shop cannot be reached");
    const answer = (await response.json()) as Order;
    if (response.ok || response.status === 409) this.#versions.set(answer.id, answer.version);
    if (response.status === 409) {
      throw new MutationConflictError(
        `somebody else changed it meanwhile: ${answer.quantity} × ${answer.item}, ${answer.status}`,
        { serverValue: answer },
      );
    }
    if (!response.ok) throw new RefusedError(`the shop refused (${response.status})`);
    return answer;
  }
}
