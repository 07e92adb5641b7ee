import { deferred, seededRandom } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import {
  type Change,
  OfflineQueue,
  OptimisticStore,
  type QueueStorage,
  type TabLink,
  webQueueStorage,
} from "../src/client/index.ts";

const LIST = ["order"];
const mutators = {
  create: (item: string): readonly Change[] => [
    { key: LIST, apply: (value) => [...((value ?? []) as string[]).filter((each) => each !== item), item] },
  ],
};

/** A Web Storage of this test. */
const memoryStorage = (): Storage => {
  const entries = new Map<string, string>();
  return {
    get length() {
      return entries.size;
    },
    key: (index) => [...entries.keys()][index] ?? null,
    getItem: (key) => entries.get(key) ?? null,
    setItem: (key, value) => void entries.set(key, value),
    removeItem: (key) => void entries.delete(key),
    clear: () => entries.clear(),
  };
};

/** A server that can be out of reach, and takes each mutation once. */
class Network {
  isDown = false;
  readonly taken: string[] = [];
  readonly keys: string[] = [];
  refuse: string | undefined;

  async send({ mutation }: { readonly mutation: string }, item: string): Promise<string> {
    if (this.isDown) throw new TypeError("fetch failed");
    if (item === this.refuse) throw new Error("refused");
    if (!this.keys.includes(mutation)) this.taken.push(item);
    this.keys.push(mutation);
    return item;
  }
}

const openPage = (
  parts: {
    readonly storage?: QueueStorage;
    readonly maxCount?: number;
    readonly tabs?: TabLink;
    readonly onError?: (error: unknown) => void;
  } = {},
  network = new Network(),
) => {
  const clock = new VirtualClock();
  let wake: () => void = () => undefined;
  const queue = new OfflineQueue({
    clock,
    onWake: (callback) => {
      wake = callback;
      return () => undefined;
    },
    ...(parts.storage === undefined ? {} : { storage: parts.storage }),
    ...(parts.maxCount === undefined ? {} : { maxCount: parts.maxCount }),
    ...(parts.onError === undefined ? {} : { onError: parts.onError }),
  });
  const send = (context: { readonly mutation: string }, item: string) => network.send(context, item);
  const store = new OptimisticStore({
    mutators,
    clock,
    random: seededRandom(1),
    offline: { queue, sends: { create: { send } } },
    ...(parts.tabs === undefined ? {} : { tabs: parts.tabs }),
  });
  return {
    clock,
    network,
    queue,
    store,
    wake: () => wake(),
    create: (item: string) => store.mutate("create", item, { send }),
    items: () => store.value(LIST) as readonly string[] | undefined,
    [Symbol.dispose]: () => {
      store[Symbol.dispose]();
      queue[Symbol.dispose]();
    },
  };
};

describe("the offline queue", () => {
  it("keeps what cannot be sent, shows it meanwhile, and sends it in order when the network is back", async () => {
    using page = openPage();
    page.network.isDown = true;
    const first = page.create("tea");
    const second = page.create("milk");
    await page.clock.advance(10_000);
    expect(page.items()).toEqual(["tea", "milk"]);
    expect(page.queue.waitingCount).toBe(2);
    page.network.isDown = false;
    page.wake();
    await page.clock.advance(1);
    expect(await first.done).toBe("tea");
    expect(await second.done).toBe("milk");
    expect(page.network.taken).toEqual(["tea", "milk"]);
    expect(page.queue.waitingCount).toBe(0);
  });

  it("tries by itself, less and less often, under the same key", async () => {
    using page = openPage();
    page.network.isDown = true;
    const { done, id } = page.create("tea");
    await page.clock.advance(60_000);
    page.network.isDown = false;
    await page.clock.advance(20_000);
    await done;
    expect(page.network.keys).toEqual([id]);
  });

  it("holds back what was made later, so that the order stays", async () => {
    using page = openPage();
    page.network.isDown = true;
    const first = page.create("tea");
    await page.clock.advance(10);
    page.network.isDown = false;
    const second = page.create("milk");
    await page.clock.advance(5_000);
    await Promise.all([first.done, second.done]);
    expect(page.network.taken).toEqual(["tea", "milk"]);
  });

  it("drops what the server refuses, tells its caller, and goes on with the rest", async () => {
    using page = openPage();
    page.network.isDown = true;
    page.network.refuse = "tea";
    const refused = page.create("tea");
    const good = page.create("milk");
    await page.clock.advance(10);
    page.network.isDown = false;
    page.wake();
    const outcome = expect(refused.done).rejects.toThrow("refused");
    await page.clock.advance(1);
    await outcome;
    await good.done;
    expect(page.items()).toEqual(["milk"]);
  });

  it("is bounded: one more is refused and taken back", async () => {
    using page = openPage({ maxCount: 2 });
    page.network.isDown = true;
    const waiting = [page.create("a"), page.create("b")];
    await page.clock.advance(1);
    await expect(page.create("c").done).rejects.toMatchObject({ code: "KERNEL_OVERLOADED" });
    expect(page.items()).toEqual(["a", "b"]);
    expect(waiting).toHaveLength(2);
  });

  it("survives a reload: the next page shows what waits and sends it under the same key", async () => {
    const web = memoryStorage();
    const network = new Network();
    network.isDown = true;
    const storage = (user: string) => webQueueStorage(web, { application: "shop", user });
    const ids: string[] = [];
    {
      using page = openPage({ storage: storage("ann") }, network);
      for (const item of ["tea", "milk"]) ids.push(page.create(item).id);
      await page.clock.advance(10);
    }
    using other = openPage({ storage: storage("bob") }, network);
    await other.clock.advance(10);
    expect(other.queue.waitingCount).toBe(0);
    using again = openPage({ storage: storage("ann") }, network);
    await again.clock.advance(1);
    expect(again.items()).toEqual(["tea", "milk"]);
    network.isDown = false;
    again.wake();
    await again.clock.advance(10);
    expect(network.taken).toEqual(["tea", "milk"]);
    expect(network.keys).toEqual(ids);
    expect(web.length).toBe(0);
  });

  it("keeps other tabs from forgetting what waits here", async () => {
    const told: unknown[] = [];
    const tabs: TabLink = {
      sendToTabs: (message) => told.push(message),
      onTabMessage: () => () => undefined,
    };
    using page = openPage({ tabs });
    page.network.isDown = true;
    const { id } = page.create("tea");
    await page.clock.advance(120_000);
    // A tab forgets after 30 s without news.
    const applied = told.filter((message) => (message as { overlay: string }).overlay === "apply");
    expect(applied.length).toBeGreaterThanOrEqual(6);
    expect(applied[0]).toEqual({ overlay: "apply", mutation: id, name: "create", args: "tea" });
  });

  it("goes on when a listener throws, and reports it", async () => {
    const failure = new Error("a listener");
    const reported: unknown[] = [];
    using page = openPage({ onError: (error) => reported.push(error) });
    page.queue.onChange(() => {
      throw failure;
    });
    page.network.isDown = true;
    page.create("tea").done.catch(() => undefined);
    await page.clock.advance(10);
    expect(page.items()).toEqual(["tea"]);
    page.network.isDown = false;
    page.wake();
    await page.clock.advance(10);
    page.create("milk").done.catch(() => undefined);
    await page.clock.advance(10);
    expect(page.network.taken).toEqual(["tea", "milk"]);
    expect(reported).toEqual([failure, failure]);
  });

  it("lets nothing past what is being stored", async () => {
    const stored = deferred<void>();
    const removed: string[] = [];
    const storage: QueueStorage = {
      load: () => [],
      put: () => stored.promise,
      remove: (id) => void removed.push(id),
    };
    using page = openPage({ storage });
    page.network.isDown = true;
    const { id } = page.create("tea");
    await page.clock.advance(10);
    page.network.isDown = false;
    page.create("milk").done.catch(() => undefined);
    page.wake();
    await page.clock.advance(10);
    expect(page.network.taken[0]).toBe("tea");
    // What was sent before it was stored must not stay there.
    expect(removed).toEqual([]);
    stored.resolve();
    await page.clock.advance(10);
    expect(page.network.taken).toEqual(["tea", "milk"]);
    expect(removed[0]).toBe(id);
  });

  it("passes over what cannot be read in the storage, and keeps the rest", async () => {
    const web = memoryStorage();
    const storage = webQueueStorage(web);
    await storage.put({ id: "m-1", name: "create", args: "tea" });
    web.setItem("holdfast-live-queue/default/anonymous/m-0", "{half");
    web.setItem("holdfast-live-queue/default/anonymous/m-2", "null");
    await storage.put({ id: "m-3", name: "create", args: "milk" });
    expect((await storage.load()).map(({ id }) => id)).toEqual(["m-1", "m-3"]);
  });

  it("stops trying when it is disposed of, also what failed only then", async () => {
    const clock = new VirtualClock();
    const queue = new OfflineQueue({ clock, onWake: () => () => undefined });
    let attemptCount = 0;
    const waiting = queue.run({ id: "m-1", name: "create", args: "tea" }, async () => {
      attemptCount += 1;
      throw new TypeError("fetch failed");
    });
    waiting.catch(() => undefined);
    queue[Symbol.dispose]();
    await clock.advance(60_000);
    expect([attemptCount, clock.pendingCount]).toEqual([1, 0]);
  });

  it("fails the mutation alone at whose failure the judgement throws, and sends what comes after it", async () => {
    const clock = new VirtualClock();
    const errors: unknown[] = [];
    const queue = new OfflineQueue({
      clock,
      onWake: () => () => undefined,
      isOffline: (error) => (error as { isOffline: boolean }).isOffline,
      onError: (error) => {
        errors.push(error);
        throw new Error("the report failed");
      },
    });
    let failure: unknown = { isOffline: true };
    let isDown = true;
    const ended: string[] = [];
    const run = (id: string, attempt: () => Promise<unknown>): void => {
      queue.run({ id, name: "create", args: id }, attempt).then(
        () => ended.push(`${id} was sent`),
        () => ended.push(`${id} failed`),
      );
    };
    run("tea", () => Promise.reject(failure));
    run("milk", async () => {
      if (isDown) await Promise.reject(failure);
    });
    await clock.advance(500);
    expect(queue.waitingCount).toBe(2);
    failure = undefined;
    isDown = false;
    await clock.advance(60_000);
    expect(ended).toEqual(["tea failed", "milk was sent"]);
    expect(errors).toEqual([expect.any(TypeError)]);
    queue[Symbol.dispose]();
  });
});
