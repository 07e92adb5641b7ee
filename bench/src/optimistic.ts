import { type Mutators, OptimisticStore } from "@holdfast/live/client";
import { QueryClient } from "@tanstack/query-core";
import type { Bench, BenchResult } from "./measure/bench-result.ts";
import { interleaved } from "./measure/interleaved.ts";

const ROW_COUNT = 10_000;
const PENDING_COUNT = 1_000;
const KEY = ["order"];

interface Row {
  readonly id: string;
  readonly item: string;
  readonly quantity: number;
}

const never = { send: () => new Promise<never>(() => undefined) };
const rowsOf = (quantity: number): readonly Row[] =>
  Array.from({ length: ROW_COUNT }, (_, index) => ({ id: `o-${index}`, item: `item ${index}`, quantity }));
/** Two answers of a server, in turn: a new one with every fetch. */
const ANSWERS = [rowsOf(1), rowsOf(2)];
/** Every tenth row is being changed. */
const changedId = (index: number): string => `o-${(index * 10) % ROW_COUNT}`;

const mutators = {
  more: ({ id, by }: { readonly id: string; readonly by: number }) => [
    {
      key: KEY,
      row: id,
      apply: (row: unknown) => row && { ...(row as Row), quantity: (row as Row).quantity + by },
    },
  ],
} satisfies Mutators;

/** One frame: the answer of a fetch comes in under what is pending, and the list is shown. */
const ours = () => {
  const store = new OptimisticStore({ mutators, pendingMaxCount: PENDING_COUNT + 10 });
  store.setBase(KEY, ANSWERS[0]);
  for (let index = 0; index < PENDING_COUNT; index += 1)
    store.mutate("more", { id: changedId(index), by: 1 }, never).done.catch(() => undefined);
  return {
    rebase: (count: number) => {
      for (let frame = 0; frame < count; frame += 1) {
        const fetching = store.beginRefetch(KEY);
        fetching.complete(ANSWERS[frame % 2]);
        check(store.value(KEY) as readonly Row[], (frame % 2) + 2);
      }
    },
    apply: async (count: number) => {
      for (let frame = 0; frame < count; frame += 1) {
        const failing = { send: () => Promise.reject(new Error("taken back")) };
        const { done } = store.mutate("more", { id: "o-5", by: 1 }, failing);
        store.value(KEY);
        // Back to where it was, outside of what a frame costs but inside the measurement.
        await done.catch(() => undefined);
      }
    },
  };
};

/**
 * The same by the book: a change is a function over the cached list. Nothing there keeps what is pending, so the
 * application does, and draws it over each answer of the server itself, in one call and without structural sharing.
 */
const tanstack = () => {
  const client = new QueryClient({ defaultOptions: { queries: { structuralSharing: false } } });
  const more =
    (id: string) =>
    (rows: readonly Row[]): readonly Row[] =>
      rows.map((row) => (row.id === id ? { ...row, quantity: row.quantity + 1 } : row));
  const pending = Array.from({ length: PENDING_COUNT }, (_, index) => more(changedId(index)));
  const draw = (rows: readonly Row[]): readonly Row[] => pending.reduce((drawn, apply) => apply(drawn), rows);
  client.setQueryData(KEY, draw(ANSWERS[0] as readonly Row[]));
  return {
    rebase: (count: number) => {
      for (let frame = 0; frame < count; frame += 1) {
        client.setQueryData(KEY, draw(ANSWERS[frame % 2] as readonly Row[]));
        check(client.getQueryData(KEY) as readonly Row[], (frame % 2) + 2);
      }
    },
    apply: async (count: number) => {
      for (let frame = 0; frame < count; frame += 1) {
        await client.cancelQueries({ queryKey: KEY });
        const before = client.getQueryData<readonly Row[]>(KEY);
        client.setQueryData<readonly Row[]>(KEY, (rows) => more("o-5")(rows ?? []));
        client.setQueryData(KEY, before);
      }
    },
  };
};

const check = (rows: readonly Row[], quantity: number): void => {
  if (rows.length !== ROW_COUNT || rows[10]?.quantity !== quantity)
    throw new Error("a pending change is not shown");
};

const run = async (): Promise<readonly BenchResult[]> => {
  const mine = ours();
  const peer = tanstack();
  const apply = await interleaved({ ours: mine.apply, peer: peer.apply }, { count: 50, rounds: 7 });
  const rebase = await interleaved({ ours: mine.rebase, peer: peer.rebase }, { count: 4, rounds: 7 });
  const ms = (nanoseconds: number): number => Number((nanoseconds / 1e6).toFixed(3));
  const what = `${PENDING_COUNT} mutations pending over a list of ${ROW_COUNT} rows. Median of 7 interleaved rounds.`;
  const name = "@tanstack/query-core@5.108.0";
  return [
    {
      unit: "ms (apply and take back)",
      ours: ms(apply.ours),
      peers: { [name]: ms(apply.peer) },
      higherIsBetter: false,
      notes: `${what} One more is shown, fails and is taken back. Ours draws everything pending again; the peer puts the list from before back, and with it takes back whatever else happened meanwhile.`,
    },
    {
      unit: "ms/frame",
      ours: ms(rebase.ours),
      peers: { [name]: ms(rebase.peer) },
      higherIsBetter: false,
      notes: `${what} A fetch brings all rows anew, and what is pending is drawn over them. The peer has no such step: the application keeps its pending changes and applies them in one setQueryData, without structural sharing.`,
    },
  ];
};

const bench: Bench = {
  name: "optimistic",
  description: "What does a frame cost while many changes are pending over a large list?",
  run,
};

export default bench;
