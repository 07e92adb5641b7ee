import { deferred, seededRandom } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type Change,
  MutationConflictError,
  OptimisticStore,
  type OptimisticStoreOptions,
  type SendContext,
  type TabLink,
} from "../src/client/index.ts";

interface Order {
  readonly id: string;
  readonly state: string;
  readonly note?: string;
}

const list = (value: unknown): readonly Order[] => (value ?? []) as readonly Order[];
const isList = (value: unknown): value is readonly Order[] => Array.isArray(value);

const mutators = {
  create: (order: Order): readonly Change[] => [
    {
      key: ["order"],
      apply: (value) =>
        isList(value) && !value.some(({ id }) => id === order.id) ? [...value, order] : value,
    },
  ],
  update: (change: Partial<Order> & { readonly id: string }): readonly Change[] => [
    {
      key: ["order"],
      apply: (value, key) => {
        if (isList(value)) return value.map((row) => (row.id === change.id ? { ...row, ...change } : row));
        return key[1] === change.id && value !== undefined ? { ...(value as Order), ...change } : value;
      },
    },
  ],
  remove: ({ id }: { readonly id: string }): readonly Change[] => [
    {
      key: ["order"],
      apply: (value, key) => {
        if (isList(value)) return value.filter((row) => row.id !== id);
        return key[1] === id ? undefined : value;
      },
    },
  ],
};

const LIST = ["order"];
const FILTERED = ["order", { state: "new" }];
const DETAIL = ["order", "1"];
const one: Order = { id: "1", state: "new" };

const setUp = (options: Partial<OptimisticStoreOptions<typeof mutators>> = {}) => {
  const clock = new VirtualClock();
  const store = new OptimisticStore({ mutators, clock, random: seededRandom(1), ...options });
  store.setBase(LIST, [one]);
  store.setBase(DETAIL, one);
  /** A call to the server that the test answers. */
  const call = () => {
    const answer = deferred<Order | undefined>();
    const ids: string[] = [];
    const options = {
      send: async ({ mutation }: SendContext): Promise<Order | undefined> => {
        ids.push(mutation);
        return answer.promise;
      },
    };
    return { ...answer, ids, options };
  };
  const shown: unknown[] = [];
  store.subscribe(DETAIL, () => shown.push((store.value(DETAIL) as Order | undefined)?.state));
  return { clock, store, call, shown };
};

describe("OptimisticStore", () => {
  it("shows create, update and delete before the call returns, in every list and detail they concern", () => {
    const { store, call } = setUp();
    store.setBase(FILTERED, [one]);
    store.mutate("create", { id: "2", state: "new" }, call().options);
    expect(list(store.value(LIST)).map(({ id }) => id)).toEqual(["1", "2"]);
    expect(list(store.value(FILTERED)).map(({ id }) => id)).toEqual(["1", "2"]);
    store.mutate("update", { id: "1", state: "paid" }, call().options);
    expect(store.value(DETAIL)).toEqual({ id: "1", state: "paid" });
    store.mutate("remove", { id: "1" }, call().options);
    expect(list(store.value(LIST)).map(({ id }) => id)).toEqual(["2"]);
    expect(store.value(DETAIL)).toBeUndefined();
  });

  it("takes back a failed mutation alone: a second one and what came from the server stay", async () => {
    const { store, call } = setUp();
    const first = call();
    const failing = store.mutate("update", { id: "1", state: "paid" }, first.options);
    store.mutate("update", { id: "1", note: "gift" }, call().options);
    store.setBase(DETAIL, { id: "1", state: "packed" });
    expect(store.value(DETAIL)).toEqual({ id: "1", state: "paid", note: "gift" });
    first.reject(new Error("offline"));
    await expect(failing.done).rejects.toThrow("offline");
    expect(store.value(DETAIL)).toEqual({ id: "1", state: "packed", note: "gift" });
  });

  it("never goes back to the answer of an earlier fetch that comes late", () => {
    const { store } = setUp();
    const early = store.beginRefetch(LIST);
    const late = store.beginRefetch(LIST);
    late.complete([one, { id: "2", state: "new" }]);
    early.complete([one]);
    expect(store.value(LIST)).toHaveLength(2);
  });

  it("leaves no timer behind for what is answered after it was disposed", async () => {
    const { clock, store, call } = setUp();
    const update = call();
    const { done } = store.mutate("update", { id: "1", state: "paid" }, update.options);
    store[Symbol.dispose]();
    update.resolve(undefined);
    await done;
    expect(clock.pendingCount).toBe(0);
    expect(store.value(DETAIL)).toMatchObject({ state: "paid" });
  });

  it("restores row and detail of a delete that failed", async () => {
    const { store, call } = setUp();
    const removal = call();
    const { done } = store.mutate("remove", { id: "1" }, removal.options);
    removal.reject(new Error("no"));
    await expect(done).rejects.toThrow("no");
    expect(store.value(LIST)).toEqual([one]);
    expect(store.value(DETAIL)).toEqual(one);
  });

  it("never shows an older value between two quick updates, whatever order refetches and events come in", async () => {
    const { store, call, shown, clock } = setUp();
    const first = call();
    const second = call();
    const a = store.mutate("update", { id: "1", state: "paid" }, first.options);
    const beforeBoth = store.beginRefetch(DETAIL);
    const b = store.mutate("update", { id: "1", state: "shipped" }, second.options);
    first.resolve(undefined);
    await a.done;
    const between = store.beginRefetch(DETAIL);
    store.handleEvent({ origin: { mutation: a.id } });
    beforeBoth.complete(one);
    between.complete({ id: "1", state: "paid" });
    second.resolve(undefined);
    await b.done;
    store.handleEvent({ origin: { mutation: b.id } });
    const after = store.beginRefetch(DETAIL);
    after.complete({ id: "1", state: "shipped" });
    await clock.advance(10_000);
    expect(shown[0]).toBe("paid");
    expect(new Set(shown.slice(1))).toEqual(new Set(["shipped"]));
    expect(store.pendingCount).toBe(0);
  });

  it("keeps an echoed mutation over the answer of a fetch that began before it", async () => {
    const { store, call } = setUp();
    const server = call();
    const stale = store.beginRefetch(DETAIL);
    const { id, done } = store.mutate("update", { id: "1", state: "paid" }, server.options);
    server.resolve(undefined);
    await done;
    store.handleEvent({ origin: { mutation: id } });
    stale.complete(one);
    expect(store.value(DETAIL)).toEqual({ id: "1", state: "paid" });
    expect(store.pendingCount).toBe(0);
  });

  it("shows one row throughout a create whose id the server changes", async () => {
    const { store } = setUp();
    const server = deferred<Order>();
    const counts: number[] = [];
    store.subscribe(LIST, () => counts.push(list(store.value(LIST)).length));
    const { id, done } = store.mutate(
      "create",
      { id: "temporary", state: "new" },
      {
        send: () => server.promise,
        reconcile: (row) => row,
      },
    );
    server.resolve({ id: "42", state: "new" });
    await done;
    store.handleEvent({ origin: { mutation: id } });
    store.beginRefetch(LIST).complete([one, { id: "42", state: "new" }]);
    expect(new Set(counts)).toEqual(new Set([2]));
    expect(list(store.value(LIST)).map((row) => row.id)).toEqual(["1", "42"]);
  });

  it("surfaces the server's value of a conflict, and retries under the same key", async () => {
    const { store } = setUp();
    const ids: string[] = [];
    let isConflict = true;
    const mutation = store.mutate(
      "update",
      { id: "1", state: "paid" },
      {
        send: async ({ mutation: id }) => {
          ids.push(id);
          if (isConflict)
            throw new MutationConflictError("changed meanwhile", { serverValue: { id: "1", state: "void" } });
        },
      },
    );
    await expect(mutation.done).rejects.toMatchObject({ serverValue: { state: "void" } });
    expect(store.value(DETAIL)).toEqual(one);
    isConflict = false;
    await store.retry(mutation.id).done;
    expect(ids).toEqual([mutation.id, mutation.id]);
    expect(store.value(DETAIL)).toMatchObject({ state: "paid" });
    expect(() => store.retry(mutation.id)).toThrow("failed mutation");
  });

  it("settles an acknowledged mutation of which no event tells by a refetch within 5 s", async () => {
    const refetched: unknown[] = [];
    const { store, call, clock } = setUp({
      refetch: async (keys) => {
        refetched.push(...keys);
        for (const key of keys)
          store.beginRefetch(key).complete(key === LIST ? [one] : { id: "1", state: "other" });
      },
    });
    const server = call();
    const { done } = store.mutate("update", { id: "1", state: "paid" }, server.options);
    server.resolve(undefined);
    await done;
    await clock.advance(4_999);
    expect(store.pendingCount).toBe(1);
    await clock.advance(1);
    expect(refetched).toEqual([LIST, DETAIL]);
    expect(store.pendingCount).toBe(0);
    // The server's word stands: another writer came later.
    expect(store.value(DETAIL)).toEqual({ id: "1", state: "other" });
  });

  it("keeps the effect when the refetch for a silent mutation fails: the server has acknowledged it", async () => {
    const errors: unknown[] = [];
    const { store, call, clock } = setUp({
      refetch: async () => {
        throw new Error("offline");
      },
      onError: (error) => errors.push(error),
    });
    const server = call();
    const { done } = store.mutate("update", { id: "1", state: "paid" }, server.options);
    server.resolve(undefined);
    await done;
    await clock.advance(5_000);
    expect(store.value(DETAIL)).toMatchObject({ state: "paid" });
    expect(store.pendingCount).toBe(0);
    expect(errors).toHaveLength(1);
  });

  it("takes its own echo for a confirmation, also a late one, and a foreign event for news", async () => {
    const { store, call } = setUp();
    const server = call();
    const { id, done } = store.mutate("update", { id: "1", state: "paid" }, server.options);
    expect(store.handleEvent({ origin: { mutation: id } })).toBe(true);
    expect(store.pendingCount).toBe(1);
    server.resolve(undefined);
    await done;
    expect(store.pendingCount).toBe(0);
    expect(store.handleEvent({ origin: { mutation: id } })).toBe(true);
    expect(store.handleEvent({ origin: { mutation: "foreign" } })).toBe(false);
    expect(store.handleEvent({ origin: {} })).toBe(false);
    expect(store.handleEvent({})).toBe(false);
  });

  it("keeps a mutation whose event came although its answer was lost", async () => {
    const { store, call } = setUp();
    const server = call();
    const { id, done } = store.mutate("update", { id: "1", state: "paid" }, server.options);
    store.handleEvent({ origin: { mutation: id } });
    server.reject(new Error("connection reset"));
    await expect(done).rejects.toThrow("connection reset");
    expect(store.value(DETAIL)).toMatchObject({ state: "paid" });
    expect(store.pendingCount).toBe(0);
  });

  it("refuses more pending mutations than its bound, and changes nothing then", () => {
    const { store, call } = setUp({ pendingMaxCount: 1 });
    store.mutate("update", { id: "1", state: "paid" }, call().options);
    expect(() => store.mutate("update", { id: "1", state: "void" }, call().options)).toThrow("full");
    expect(store.value(DETAIL)).toMatchObject({ state: "paid" });
  });

  it("keeps a failed mutation for later when there is no room to retry it now", async () => {
    const { store, call } = setUp({ pendingMaxCount: 1 });
    const first = call();
    const failing = store.mutate("update", { id: "1", state: "a" }, first.options);
    first.reject(new Error("down"));
    await expect(failing.done).rejects.toThrow("down");
    const second = call();
    const other = store.mutate("update", { id: "1", state: "b" }, second.options);
    expect(() => store.retry(failing.id)).toThrow(expect.objectContaining({ code: "KERNEL_OVERLOADED" }));
    second.reject(new Error("down"));
    await expect(other.done).rejects.toThrow("down");
    const again = store.retry(failing.id);
    again.done.catch(() => undefined);
    expect(first.ids).toEqual([failing.id, failing.id]);
  });

  it("sends and settles what it shows although a listener throws, and reports that", async () => {
    const reported: unknown[] = [];
    const { store, call } = setUp({ onError: (error) => reported.push(error) });
    const failure = new Error("a listener");
    store.subscribe(DETAIL, () => {
      throw failure;
    });
    const { ids, options, resolve } = call();
    const { done, id } = store.mutate("update", { id: "1", state: "a" }, options);
    expect(ids).toEqual([id]);
    store.handleEvent({ origin: { mutation: id } });
    resolve(undefined);
    await done;
    expect(store.pendingCount).toBe(0);
    expect(reported).toContain(failure);
  });

  it("gives the same object until a value changes", () => {
    const { store, call } = setUp();
    store.mutate("update", { id: "1", state: "paid" }, call().options);
    const value = store.value(DETAIL);
    expect(store.value(DETAIL)).toBe(value);
    store.mutate("create", { id: "2", state: "new" }, call().options);
    expect(store.value(DETAIL)).toEqual(value);
  });

  it("forgets keys that nobody shows, and keeps those that somebody does", () => {
    const { store } = setUp();
    store.forget(LIST);
    store.forget(DETAIL);
    expect(store.value(LIST)).toBeUndefined();
    expect(store.value(DETAIL)).toEqual(one);
  });
});

describe("two tabs", () => {
  /** Every tab hears the others, later, as BroadcastChannel does it. */
  const tabs = (clock: VirtualClock, count: number): readonly TabLink[] => {
    const listeners = Array.from({ length: count }, () => new Set<(message: unknown) => void>());
    return listeners.map((own, index) => ({
      sendToTabs: (message) => {
        const copy = structuredClone(message);
        clock.schedule(1, () => {
          for (const [other, set] of listeners.entries())
            if (other !== index) for (const hear of set) hear(copy);
        });
      },
      onTabMessage: (listener) => {
        own.add(listener);
        return () => own.delete(listener);
      },
    }));
  };

  const pair = () => {
    const clock = new VirtualClock();
    const stores = tabs(clock, 2).map((link) => {
      const store = new OptimisticStore({ mutators, clock, tabs: link });
      store.setBase(LIST, [one]);
      return store;
    });
    return { clock, first: stores[0] as (typeof stores)[0], second: stores[1] as (typeof stores)[0] };
  };
  type Store = OptimisticStore<typeof mutators>;
  const idsOf = (store: Store) => list(store.value(LIST)).map(({ id }) => id);

  it("shows the change in the second tab without the server, and takes it back in both on failure", async () => {
    const { clock, first, second } = pair();
    const server = deferred<void>();
    const { done } = first.mutate("create", { id: "2", state: "new" }, { send: () => server.promise });
    await clock.advance(1);
    expect(idsOf(second)).toEqual(["1", "2"]);
    server.reject(new Error("no"));
    await expect(done).rejects.toThrow("no");
    await clock.advance(1);
    expect(idsOf(first)).toEqual(["1"]);
    expect(idsOf(second)).toEqual(["1"]);
  });

  it("settles in both tabs, under the server's id, by the event that both receive", async () => {
    const { clock, first, second } = pair();
    const { id, done } = first.mutate(
      "create",
      { id: "temporary", state: "new" },
      {
        send: async () => ({ id: "42", state: "new" }),
        reconcile: (row) => row,
      },
    );
    await done;
    await clock.advance(1);
    for (const store of [first, second]) expect(store.handleEvent({ origin: { mutation: id } })).toBe(true);
    for (const store of [first, second]) {
      expect(idsOf(store)).toEqual(["1", "42"]);
      expect(store.pendingCount).toBe(0);
    }
  });

  it("drops what a tab announced that was closed before the answer", async () => {
    const { clock, first, second } = pair();
    first.mutate("create", { id: "2", state: "new" }, { send: () => new Promise(() => undefined) });
    await clock.advance(30_001);
    expect(idsOf(second)).toEqual(["1"]);
  });
});

describe("any order of answers, failures, echoes and refetches", () => {
  it("ends with what the server has, and never shows a row twice or without a pending change", async () => {
    const action = fc.record({
      kind: fc.constantFrom("mutate", "answer", "fail", "echo", "fetch", "arrive"),
      pick: fc.nat(20),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(action, { maxLength: 40 }), async (actions) => {
        const clock = new VirtualClock();
        const store = new OptimisticStore({ mutators, clock });
        const COUNTER = ["order"];
        /** The rows that the server holds, and what each open call would do. */
        let rows: readonly Order[] = [];
        store.setBase(COUNTER, rows);
        const open: {
          id: string;
          order: Order;
          isDone: boolean;
          end: ReturnType<typeof deferred<Order>>;
          mutation: string;
        }[] = [];
        const echoes: string[] = [];
        const fetches: { complete: (value: unknown) => void; rows: readonly Order[] }[] = [];
        let count = 0;
        const pendingIds = () => open.filter(({ isDone }) => !isDone).map(({ order }) => order.id);
        for (const { kind, pick } of actions) {
          const call = open.filter(({ isDone }) => !isDone)[pick % Math.max(1, pendingIds().length)];
          if (kind === "mutate") {
            count += 1;
            const order = { id: `o${count}`, state: "new" };
            const end = deferred<Order>();
            const { id: mutation, done } = store.mutate("create", order, { send: () => end.promise });
            done.catch(() => undefined);
            open.push({ id: order.id, order, isDone: false, end, mutation });
          } else if (kind === "answer" && call !== undefined) {
            rows = [...rows, call.order];
            echoes.push(call.mutation);
            call.isDone = true;
            call.end.resolve(call.order);
          } else if (kind === "fail" && call !== undefined) {
            call.isDone = true;
            call.end.reject(new Error("failed"));
          } else if (kind === "echo") {
            const [echo] = echoes.splice(pick % Math.max(1, echoes.length), 1);
            if (echo !== undefined) store.handleEvent({ origin: { mutation: echo } });
          } else if (kind === "fetch") {
            // The server answers with what it has now; the answer arrives later.
            const fetch = store.beginRefetch(COUNTER);
            fetches.push({ complete: (value) => fetch.complete(value), rows });
          } else if (kind === "arrive") {
            const [fetch] = fetches.splice(0, 1);
            fetch?.complete(fetch.rows);
          }
          await clock.advance(0);
          const shown = list(store.value(COUNTER)).map(({ id }) => id);
          expect(new Set(shown).size).toBe(shown.length);
          for (const id of [...pendingIds(), ...rows.map((row) => row.id)]) expect(shown).toContain(id);
        }
        for (const { isDone, end } of open) if (!isDone) end.reject(new Error("over"));
        for (const fetch of fetches) fetch.complete(fetch.rows);
        await clock.advance(10_000);
        expect(store.pendingCount).toBe(0);
        expect(
          list(store.value(COUNTER))
            .map(({ id }) => id)
            .sort(),
        ).toEqual(rows.map(({ id }) => id).sort());
      }),
      { numRuns: 300 },
    );
  });
});
