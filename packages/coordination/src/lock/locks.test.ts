import { createMemoryStore } from "@holdfast/coordination/memory";
import { ClosedError, InvalidInputError, seededRandom } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it, vi } from "vitest";
import { LeaseLostError, LockTimeoutError, StoreUnavailableError } from "../errors.ts";
import { Locks } from "./locks.ts";
import { ReadWriteLock } from "./read-write-lock.ts";
import { Semaphore } from "./semaphore.ts";

const TTL_MS = 3000;

const setUp = () => {
  const clock = new VirtualClock();
  const store = createMemoryStore({ clock });
  const open: Locks[] = [];
  const locksOf = (owner: string): Locks => {
    const locks = new Locks({
      leases: store.leases,
      owner,
      ttlMs: TTL_MS,
      clock,
      random: seededRandom(open.length + 1),
    });
    open.push(locks);
    return locks;
  };
  return {
    clock,
    store,
    locksOf,
    [Symbol.asyncDispose]: async () => {
      await Promise.all(open.map((locks) => locks.close().catch(() => undefined)));
    },
  };
};

describe("a lock", () => {
  it("is given to one of many askers, whatever its name", async () => {
    await using test = setUp();
    for (const name of ["plain", "a:b/c-d", "größe 🚀"]) {
      const got = await Promise.all(
        Array.from({ length: 10 }, (_, index) => test.locksOf(`o${index}`).get(name).tryAcquire()),
      );
      expect(got.filter((lease) => lease !== undefined)).toHaveLength(1);
    }
  });

  it("excludes two users of one process, and refuses to free what the other took", async () => {
    await using test = setUp();
    const lock = test.locksOf("me").get("a");
    const first = await lock.acquire();
    expect(await lock.tryAcquire()).toBeUndefined();
    expect(await first.release()).toBe(true);
    const second = await lock.acquire();
    expect(await first.release()).toBe(false);
    expect(second.isHeld).toBe(true);
    expect((await lock.state())?.token).toBe(second.token);
  });

  it("is handed to a waiter soon after its release", async () => {
    await using test = setUp();
    const first = await test.locksOf("a").get("x").acquire();
    let isGranted = false;
    const waiting = test
      .locksOf("b")
      .get("x")
      .acquire()
      .then((lease) => {
        isGranted = true;
        return lease;
      });
    await test.clock.advance(5 * TTL_MS);
    expect(isGranted).toBe(false);
    await first.release();
    await test.clock.advance(500);
    expect((await waiting).token).toBeGreaterThan(first.token);
  });

  it("times out by name when the holder keeps it", async () => {
    await using test = setUp();
    await test.locksOf("a").get("x").acquire();
    const waiting = test.locksOf("b").get("x").acquire({ waitMs: 2000 });
    const outcome = expect(waiting).rejects.toMatchObject({
      code: "COORDINATION_LOCK_TIMEOUT",
      retryable: true,
      details: { lock: "x", holder: "a" },
    });
    await test.clock.advance(2000);
    await outcome;
    await expect(test.locksOf("c").get("x").acquire({ waitMs: 0 })).rejects.toThrow(LockTimeoutError);
  });

  it("is free after its holder died, at the end of its TTL", async () => {
    await using test = setUp();
    await test.store.leases.grant("lock/x", { owner: "dead", ttlMs: TTL_MS });
    const waiting = test.locksOf("b").get("x").acquire();
    await test.clock.advance(TTL_MS + 500);
    expect((await waiting).isHeld).toBe(true);
  });

  it("ends a wait when its signal aborts, and holds nothing", async () => {
    await using test = setUp();
    const first = await test.locksOf("a").get("x").acquire();
    const controller = new AbortController();
    const reason = new Error("enough");
    const waiting = test.locksOf("b").get("x").acquire({ signal: controller.signal });
    await test.clock.advance(100);
    controller.abort(reason);
    await expect(waiting).rejects.toBe(reason);
    await first.release();
    expect(await test.locksOf("b").get("x").state()).toBeUndefined();
  });

  it("says that the store is away instead of calling the lock busy", async () => {
    await using test = setUp();
    vi.spyOn(test.store.leases, "grant").mockRejectedValue(new StoreUnavailableError("grant"));
    const trying = expect(test.locksOf("a").get("x").tryAcquire()).rejects.toThrow(StoreUnavailableError);
    await test.clock.advance(1000);
    await trying;
  });

  it("hides neither the body's value nor its error when the store is away at the release", async () => {
    await using test = setUp();
    const lock = test.locksOf("a").get("x");
    vi.spyOn(test.store.leases, "release").mockRejectedValue(new StoreUnavailableError("release"));
    expect(await lock.with(async () => "value")).toBe("value");
    await test.clock.advance(TTL_MS);
    await expect(lock.with(() => Promise.reject(new Error("broken")))).rejects.toThrow("broken");
  });

  it("is held through a body however long it takes, and freed after it, also when it throws", async () => {
    await using test = setUp();
    const lock = test.locksOf("a").get("x");
    const working = lock.with(async (lease) => {
      await test.clock.sleep(10 * TTL_MS);
      return lease.token;
    });
    await test.clock.advance(10 * TTL_MS);
    expect(await working).toBeGreaterThan(0n);
    expect(await lock.state()).toBeUndefined();
    const boom = new Error("boom");
    await expect(lock.with(() => Promise.reject(boom))).rejects.toBe(boom);
    expect(await lock.state()).toBeUndefined();
  });

  it("reports its loss to the body while it runs and to its caller afterwards", async () => {
    await using test = setUp();
    const lock = test.locksOf("a").get("x");
    let abortedInside = false;
    const working = lock.with(async (lease) => {
      await test.store.leases.revokeAll();
      await test.clock.sleep(TTL_MS);
      abortedInside = lease.signal.aborted;
      return "done anyway";
    });
    const lost = expect(working).rejects.toThrow(LeaseLostError);
    await test.clock.advance(TTL_MS);
    await lost;
    expect(abortedInside).toBe(true);
  });
});

describe("the longest names", () => {
  it("fit with slashes in them, or are refused before anything is asked", async () => {
    await using test = setUp();
    const { leases } = test.store;
    const grant = vi.spyOn(leases, "grant");
    const make = (name: string) => {
      const options = { leases, name, owner: "me", clock: test.clock, random: seededRandom(1) };
      return {
        lock: () => new ReadWriteLock(options),
        semaphore: () => new Semaphore({ ...options, permitMaxCount: 1000 }),
      };
    };
    const longest = make("/".repeat(33) + "x".repeat(367));
    await using read = longest.lock();
    await using semaphore = make("/".repeat(49) + "x".repeat(351)).semaphore();
    const held = [await read.read(), (await semaphore.acquire()).lease];
    expect(held.every(({ isHeld }) => isHeld)).toBe(true);
    grant.mockClear();
    const tooLong = make("/".repeat(50) + "x".repeat(350));
    for (const refused of [tooLong.lock, tooLong.semaphore]) {
      expect(refused).toThrow(/name must be a text of at most 4\d\d characters, each/);
    }
    expect(make("x".repeat(401)).lock).toThrow(InvalidInputError);
    expect(grant).not.toHaveBeenCalled();
  });
});

describe("locks", () => {
  it("give the same entry for the same name, and refuse conflicting settings", async () => {
    await using test = setUp();
    const locks = test.locksOf("a");
    expect(locks.get("x")).toBe(locks.get("x"));
    expect(locks.get("y", { ttlMs: 500 })).toBe(locks.get("y"));
    expect(() => locks.get("y", { ttlMs: 600 })).toThrow(InvalidInputError);
  });

  it("show who holds what, and which of it is their own", async () => {
    await using test = setUp();
    const mine = test.locksOf("me");
    const held = await mine.get("a").acquire({ metadata: { why: "test" } });
    await test.locksOf("you").get("b").acquire();
    await test.store.leases.grant("not-a-lock", { owner: "x", ttlMs: 1000 });
    expect(await mine.list()).toEqual([
      {
        name: "a",
        owner: "me",
        token: held.token,
        remainingMs: TTL_MS,
        isOwn: true,
        metadata: { why: "test" },
      },
      {
        name: "b",
        owner: "you",
        token: expect.any(BigInt),
        remainingMs: TTL_MS,
        isOwn: false,
        metadata: null,
      },
    ]);
    expect(await mine.get("free").state()).toBeUndefined();
  });

  it("free only their own with releaseAll, and say how many", async () => {
    await using test = setUp();
    const mine = test.locksOf("me");
    await mine.get("a").acquire();
    await mine.get("b", { ttlMs: 500 }).acquire();
    await test.locksOf("you").get("c").acquire();
    expect(await mine.releaseAll()).toBe(2);
    expect((await mine.list()).map(({ name }) => name)).toEqual(["c"]);
    expect(await mine.releaseAll()).toBe(0);
  });

  it("is not given to who waits for it once its owner closed: nobody would renew it", async () => {
    await using test = setUp();
    const first = await test.locksOf("a").get("x").acquire();
    const closing = test.locksOf("b");
    const waiting = closing.get("x").acquire();
    const refused = expect(waiting).rejects.toThrow(ClosedError);
    await test.clock.advance(10);
    await closing.close();
    await first.release();
    await test.clock.advance(10_000);
    await refused;
    await expect(closing.get("x").acquire()).rejects.toThrow(ClosedError);
    expect(() => closing.get("y", { ttlMs: 5000 })).toThrow(ClosedError);
    expect(await test.locksOf("c").get("x").state()).toBeUndefined();
  });

  it.each([
    Number.NaN,
    Number.POSITIVE_INFINITY,
    -1,
  ])("refuses at once to wait for %s ms, and asks nobody", async (waitMs) => {
    await using test = setUp();
    const locks = test.locksOf("a");
    const { leases } = test.store;
    await locks.get("x").acquire();
    await using semaphore = new Semaphore({
      leases,
      name: "s",
      owner: "a",
      permitMaxCount: 1,
      clock: test.clock,
    });
    await using readWrite = new ReadWriteLock({ leases, name: "rw", owner: "a", clock: test.clock });
    const asked = vi.spyOn(leases, "grant");
    const waits = [
      locks.get("x").acquire({ waitMs }),
      semaphore.acquire({ waitMs }),
      readWrite.read({ waitMs }),
      readWrite.write({ waitMs }),
    ];
    for (const wait of waits) await expect(wait).rejects.toThrow(/waitMs must be a number from 0/);
    expect(asked).not.toHaveBeenCalled();
  });

  it("forget of very many names those that are idle, and none that is held, asked for or waited for", async () => {
    await using test = setUp();
    const locks = test.locksOf("a");
    const held = locks.get("held");
    const lease = await held.acquire();
    const other = await test.locksOf("b").get("waited").acquire();
    const waited = locks.get("waited");
    const waiting = waited.acquire();
    await test.clock.advance(10);
    const asked = locks.get("asked");
    const asking = asked.acquire();
    for (let n = 0; n < 30_000; n += 1) locks.get(`order/${n}`);
    expect(locks.names.length).toBeLessThan(10_100);
    await asking;
    await other.release();
    await test.clock.advance(10);
    await waiting;
    for (const lock of [held, waited, asked]) expect(locks.get(lock.name)).toBe(lock);
    expect((await locks.list()).map(({ isOwn }) => isOwn)).toEqual([true, true, true]);
    await lease.release();
  });
});
