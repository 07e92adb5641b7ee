import {
  useBroadcast,
  useBroadcastInvalidation,
  useBroadcastState,
  useChannel,
  useOptimisticValue,
  usePresence,
} from "@holdfast/live-react";
import { type ReactNode, useEffect, useState, useSyncExternalStore } from "react";
import { NewOrder } from "./new-order.tsx";
import { OrderRow } from "./order-row.tsx";
import { type Filter, listKey, type Order, OrderStore, PREFIX } from "./order-store.ts";

const FILTERS: readonly Filter[] = ["all", "open", "shipped"];
const STATE_TEXT = {
  connected: "live",
  connecting: "connecting",
  reconnecting: "reconnecting",
  disconnected: "offline",
} as const;

export const OrdersPage = ({ user }: { readonly user: string }): ReactNode => {
  const client = useBroadcast();
  const [orders] = useState(() => new OrderStore(client, user));
  const [filter, setFilter] = useState<Filter>("all");
  const [problem, setProblem] = useState<string>();
  const lostTrack = (): void => orders.lostTrack();
  useChannel("order", (event) => orders.heard(event), { onGap: lostTrack, onBegin: lostTrack });
  useBroadcastInvalidation({
    channel: "order",
    queryKeyPrefix: PREFIX,
    cache: orders,
    store: orders.store,
    keys: { entityOf: () => undefined },
  });
  const key = listKey(filter);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the key is new on each render, its filter is not
  useEffect(() => orders.show(key), [orders, filter]);
  const rows = useOptimisticValue<readonly Order[]>(orders.store, key);
  const settle = (done: Promise<unknown>): void => {
    setProblem(undefined);
    done.catch((error: unknown) => setProblem(error instanceof Error ? error.message : String(error)));
  };
  return (
    <main>
      <header>
        <h1>Orders</h1>
        <People user={user} />
        <ConnectionNote />
      </header>
      <Waiting orders={orders} />
      {problem === undefined ? null : (
        <div className="banner problem" role="alert">
          <span>Not saved: {problem}</span>
          <button type="button" onClick={() => setProblem(undefined)}>
            Dismiss
          </button>
        </div>
      )}
      <NewOrder onCreate={(item, quantity) => settle(orders.create(item, quantity))} />
      <fieldset className="filters">
        <legend className="visually-hidden">Show</legend>
        {FILTERS.map((each) => (
          <button key={each} type="button" aria-pressed={each === filter} onClick={() => setFilter(each)}>
            {each}
          </button>
        ))}
      </fieldset>
      <OrderList rows={rows} filter={filter} orders={orders} settle={settle} />
    </main>
  );
};

const OrderList = (props: {
  readonly rows: readonly Order[] | undefined;
  readonly filter: Filter;
  readonly orders: OrderStore;
  readonly settle: (done: Promise<unknown>) => void;
}): ReactNode => {
  const { rows, filter, orders, settle } = props;
  if (rows === undefined) return <p className="empty">Loading the orders …</p>;
  if (rows.length === 0)
    return (
      <p className="empty">
        {filter === "all" ? "No orders yet. Take the first one above." : `No ${filter} orders.`}
      </p>
    );
  return (
    <ul className="orders" aria-label="Orders">
      {rows.map((order) => (
        <OrderRow
          key={order.id}
          order={order}
          onChange={(change) => settle(orders.update({ id: order.id, ...change }))}
          onRemove={() => settle(orders.remove(order.id))}
        />
      ))}
    </ul>
  );
};

/** What could not be sent yet. */
const Waiting = ({ orders }: { readonly orders: OrderStore }): ReactNode => {
  const count = useSyncExternalStore(
    (onChange) => orders.queue.onChange(onChange),
    () => orders.queue.waitingCount,
  );
  if (count === 0) return null;
  return (
    <output className="banner">
      {count === 1 ? "1 change waits" : `${count} changes wait`} for the network and will be sent by itself.
    </output>
  );
};

const People = ({ user }: { readonly user: string }): ReactNode => {
  const present = usePresence("order", { name: user });
  const names = [...new Set(present.map(({ data }) => String(data["name"])))].sort();
  return (
    <ul className="people" aria-label="Who is here">
      {names.map((name) => (
        <li key={name} title={name}>
          {name.slice(0, 2)}
        </li>
      ))}
    </ul>
  );
};

const ConnectionNote = (): ReactNode => {
  const state = useBroadcastState();
  return (
    <output className={`connection ${state}`}>
      <span className="dot" aria-hidden="true" />
      {STATE_TEXT[state]}
    </output>
  );
};
