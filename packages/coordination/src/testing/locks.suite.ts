import { type Clock, seededRandom, systemClock } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import { LeaseLostError, LockTimeoutError } from "../errors.ts";
import type { Leases, LinePlace } from "../lease/leases.ts";
import { Locks, type LocksOptions } from "../lock/locks.ts";
import { ReadWriteLock } from "../lock/read-write-lock.ts";
import { Semaphore } from "../lock/semaphore.ts";
import { whileElapsing } from "./harness.ts";

export interface LocksHarness extends AsyncDisposable {
  readonly store: { readonly leases: Leases<never> };
  /** Lets `ms` pass for the store, and for the locks where they run on a virtual clock. */
  elapse(ms: number): Promise<void>;
  /** The clock that locks of this test run on. Default: the system's. */
  readonly clock?: Clock;
}

const TTL_MS = 20_000;

/** Locks, read-write locks and semaphores on the leases of any backend. */
export const locksSuite = (setUp: () => Promise<LocksHarness>): void => {
  const open = async () => {
    const harness = await setUp();
    const clock = harness.clock ?? systemClock;
    const { leases } = harness.store;
    const opened: AsyncDisposable[] = [];
    const use = <T extends AsyncDisposable>(resource: T): T => {
      opened.push(resource);
      return resource;
    };
    let grantCount = 0;
    const countingPlace = (place: LinePlace): LinePlace => ({
      lookEveryMs: place.lookEveryMs,
      look: (options) => {
        grantCount += 1;
        return place.look(options);
      },
      end: (options) => place.end(options),
    });
    const counting: Leases<never> = new Proxy(leases, {
      get: (target, name) => {
        const member: unknown = Reflect.get(target, name);
        if (typeof member !== "function") return member;
        return (...args: unknown[]) => {
          if (name === "grant") grantCount += 1;
          const result = (member as (...all: unknown[]) => unknown).apply(target, args);
          return name === "standInLine" ? countingPlace(result as LinePlace) : result;
        };
      },
    });
    const parts = { leases: counting, ttlMs: TTL_MS, clock, random: seededRandom(7) };
    return {
      ...harness,
      leases,
      clock,
      grantCount: () => grantCount,
      locks: (owner: string, options: Partial<LocksOptions> = {}) =>
        use(new Locks({ ...parts, owner, ...options })),
      readWrite: (owner: string) => use(new ReadWriteLock({ ...parts, owner, name: "a/b" })),
      semaphore: (owner: string, permitMaxCount: number) =>
        use(new Semaphore({ ...parts, owner, name: "s", permitMaxCount })),
      /** What becomes of something that waits, while time goes by. */
      through: <T>(promise: Promise<T>): Promise<T> => whileElapsing(harness, 10, promise),
      [Symbol.asyncDispose]: async () => {
        await Promise.all(opened.map((each) => each[Symbol.asyncDispose]()));
        await harness[Symbol.asyncDispose]();
      },
    };
  };

  describe("locks", () => {
    it("know name and lifetime and are not held before the first grant, whatever the name", async () => {
      await using test = await open();
      const locks = test.locks("me");
      for (const name of ["plain", "a:b/c-d", "größe 🚀 %2F/"]) {
        const lock = locks.get(name);
        expect(lock).toMatchObject({ name, ttlMs: TTL_MS, isHeld: false });
        expect(await lock.state()).toBeUndefined();
        const lease = await lock.acquire();
        expect(lock.isHeld && lease.isHeld).toBe(true);
        expect(await lock.state()).toMatchObject({ name, owner: "me", token: lease.token, isOwn: true });
        expect(await lease.release()).toBe(true);
        expect(await lease.release()).toBe(false);
        expect(lock.isHeld).toBe(false);
        expect(await lock.state()).toBeUndefined();
      }
      expect(locks.names).toHaveLength(3);
    });

    it("let exactly one of many askers in, also of one process, and free nothing that another took", async () => {
      await using test = await open();
      const [a, b] = [test.locks("a"), test.locks("b")];
      const got = await Promise.all(
        Array.from({ length: 20 }, (_, n) => (n % 2 === 0 ? a : b).get("x").tryAcquire()),
      );
      const winners = got.filter((lease) => lease !== undefined);
      expect(winners).toHaveLength(1);
      const [first] = winners;
      await first?.release();
      const second = await b.get("x").acquire();
      expect(await first?.release()).toBe(false);
      expect((await a.get("x").state())?.token).toBe(second.token);
      expect(await a.get("x").state()).toMatchObject({ owner: "b", isOwn: false });
    });

    it("are handed to a waiter by the release itself, without looking again in between", async () => {
      await using test = await open();
      const [a, b] = [test.locks("a"), test.locks("b")];
      const first = await a.get("x").acquire();
      const waiting = b.get("x").acquire();
      // Until it has asked for the second time, this time to be told.
      while (test.grantCount() < 3) await new Promise((resolve) => setImmediate(resolve));
      const before = test.grantCount();
      await test.leases.read("anything");
      await first.release();
      const second = await waiting;
      expect(second.token).toBeGreaterThan(first.token);
      expect(test.grantCount() - before).toBeLessThanOrEqual(2);
    });

    it("pass from waiter to waiter: one holder at a time, growing tokens, everybody's turn comes", async () => {
      await using test = await open();
      const clients = ["a", "b", "c"].map((owner) => test.locks(owner));
      const tokens: bigint[] = [];
      let inside = 0;
      let sum = 0;
      const turns = clients.flatMap((locks) =>
        Array.from({ length: 5 }, async () => {
          await locks.get("x").with(async (lease) => {
            inside += 1;
            expect(inside).toBe(1);
            tokens.push(lease.token);
            const before = sum;
            await test.leases.read("anything");
            sum = before + 1;
            inside -= 1;
          });
        }),
      );
      await test.through(Promise.all(turns));
      expect(sum).toBe(15);
      expect(tokens).toEqual([...tokens].sort((x, y) => (x < y ? -1 : 1)));
    });

    it("are free again when their holder died, at the end of its lifetime", async () => {
      await using test = await open();
      await test.leases.grant("lock/x", { owner: "dead", ttlMs: 150 });
      const lock = test.locks("next").get("x");
      const startedAt = test.clock.monotonicNow();
      const lease = await test.through(lock.acquire());
      expect(lease.isHeld).toBe(true);
      // Sooner than its own lifetime, by which nobody waits.
      expect(test.clock.monotonicNow() - startedAt).toBeLessThan(TTL_MS);
    });

    it("give up in time by name of the holder, also behind a waiter of the same process", async () => {
      await using test = await open();
      await test.locks("holder").get("x").acquire();
      const lock = test.locks("me").get("x");
      const waits = Promise.allSettled([40, 20, 0].map((waitMs) => lock.acquire({ waitMs })));
      const outcomes = await test.through(waits);
      for (const outcome of outcomes) {
        expect(outcome.status === "rejected" && outcome.reason).toBeInstanceOf(LockTimeoutError);
      }
      expect(outcomes[0]).toMatchObject({ reason: { details: { holder: "holder" } } });
      const controller = new AbortController();
      const aborted = lock.acquire({ signal: controller.signal });
      controller.abort(new Error("enough"));
      await expect(aborted).rejects.toThrow("enough");
    });

    it("are extended by what is added, or to what is set, and not after their loss", async () => {
      await using test = await open();
      const lock = test.locks("me").get("x");
      const lease = await lock.acquire();
      const remaining = async (): Promise<number> => (await lock.state())?.remainingMs ?? 0;
      expect(await lease.extend({ addMs: 60_000 })).toBe(true);
      expect(await remaining()).toBeGreaterThan(TTL_MS + 50_000);
      expect(await remaining()).toBeLessThanOrEqual(TTL_MS + 60_000);
      expect(await lease.extend({ ttlMs: 40_000 })).toBe(true);
      expect(await remaining()).toBeGreaterThan(30_000);
      expect(await remaining()).toBeLessThanOrEqual(40_000);
      expect(lease.isHeld).toBe(true);
      await expect(lease.extend({ ttlMs: 1 })).rejects.toMatchObject({ code: "KERNEL_INVALID_INPUT" });
      await expect(lease.extend({ addMs: -1 })).rejects.toMatchObject({ code: "KERNEL_INVALID_INPUT" });
      await expect(lease.extend({} as never)).rejects.toMatchObject({ code: "KERNEL_INVALID_INPUT" });
      await test.leases.revokeAll();
      expect(await lease.extend({ addMs: 1000 })).toBe(false);
      expect(lease.isHeld).toBe(false);
      expect(lease.signal.reason).toBeInstanceOf(LeaseLostError);
      expect(await lease.extend({ ttlMs: 1000 })).toBe(false);
      const next = await lock.acquire();
      await next.release();
      expect(await next.extend({ addMs: 1000 })).toBe(false);
      expect(await lock.state()).toBeUndefined();
    });

    it("are freed by the end of their scope, also by an exception, and tell a loss to the caller", async () => {
      await using test = await open();
      const lock = test.locks("me").get("x");
      expect(await lock.with(async () => "value")).toBe("value");
      await expect(lock.with(() => Promise.reject(new Error("broken")))).rejects.toThrow("broken");
      expect(await lock.state()).toBeUndefined();
      await using other = test.locks("other");
      await other.get("x").acquire();
      await expect(lock.with(async () => "never", { waitMs: 0 })).rejects.toThrow(LockTimeoutError);
    });

    it("are listed and freed by their own locks object alone, which refuses conflicting settings", async () => {
      await using test = await open();
      const [a, b] = [test.locks("a"), test.locks("b")];
      await a.get("1").acquire();
      await a.get("2").acquire();
      await b.get("3").acquire();
      expect(a.get("1")).toBe(a.get("1"));
      expect(() => a.get("1", { ttlMs: 5000 })).toThrow(/ttlMs/);
      expect((await a.list()).map(({ name, isOwn }) => [name, isOwn])).toEqual([
        ["1", true],
        ["2", true],
        ["3", false],
      ]);
      expect(await a.releaseAll()).toBe(2);
      expect((await a.list()).map(({ name }) => name)).toEqual(["3"]);
    });
  });

  describe("read-write locks", () => {
    it("let readers in together, and a writer alone, with growing tokens", async () => {
      await using test = await open();
      const [a, b] = [test.readWrite("a"), test.readWrite("b")];
      const readers = await Promise.all([a.read(), b.read(), a.read()]);
      await expect(test.through(b.write({ waitMs: 20 }))).rejects.toThrow(LockTimeoutError);
      expect((await a.state()).writer).toBeUndefined();
      await Promise.all(readers.map((lease) => lease.release()));
      const writer = await b.write();
      expect(await a.state()).toMatchObject({ writer: { owner: "b", token: writer.token }, readers: [] });
      await expect(test.through(a.read({ waitMs: 20 }))).rejects.toThrow(LockTimeoutError);
      await expect(test.through(a.write({ waitMs: 20 }))).rejects.toThrow(LockTimeoutError);
      for (const reader of readers) expect(writer.token).toBeGreaterThan(reader.token);
      await writer.release();
      const next = await a.read();
      expect(next.token).toBeGreaterThan(writer.token);
    });

    it("keep new readers out while a writer waits, so that writers do not starve", async () => {
      await using test = await open();
      const [a, b] = [test.readWrite("a"), test.readWrite("b")];
      const reader = await a.read();
      const order: string[] = [];
      const writing = b.write().then(async (lease) => {
        order.push("writer");
        await lease.release();
      });
      while ((await a.state()).writer === undefined) await new Promise((resolve) => setImmediate(resolve));
      const reading = a.read().then(async (lease) => {
        order.push("reader");
        await lease.release();
      });
      await test.elapse(10);
      expect(order).toEqual([]);
      await reader.release();
      await test.through(Promise.all([writing, reading]));
      expect(order).toEqual(["writer", "reader"]);
    });

    it("never have a writer beside anybody, whatever the order of asking", async () => {
      await using test = await open();
      const clients = ["a", "b", "c"].map((owner) => test.readWrite(owner));
      let readers = 0;
      let writers = 0;
      const turns = Array.from({ length: 24 }, async (_, n) => {
        const client = clients[n % 3] as ReadWriteLock;
        const isWriter = n % 4 === 0;
        await using _lease = await (isWriter ? client.write() : client.read());
        if (isWriter) writers += 1;
        else readers += 1;
        expect(writers).toBeLessThanOrEqual(1);
        expect(writers === 0 || readers === 0).toBe(true);
        await test.leases.read("anything");
        if (isWriter) writers -= 1;
        else readers -= 1;
      });
      await test.through(Promise.all(turns));
      expect(await clients[0]?.state()).toEqual({ writer: undefined, readers: [] });
    });
  });

  describe("semaphores", () => {
    it("let so many in at a time and no more, each in a place of its own; a release lets the next in", async () => {
      await using test = await open();
      const [a, b] = [test.semaphore("a", 3), test.semaphore("b", 3)];
      const permits = [await a.acquire(), await b.acquire(), await a.acquire()];
      expect(new Set(permits.map(({ place }) => place))).toEqual(new Set([0, 1, 2]));
      expect(await a.holders()).toHaveLength(3);
      await expect(test.through(b.acquire({ waitMs: 20 }))).rejects.toThrow(LockTimeoutError);
      const waiting = b.acquire();
      await test.elapse(1);
      await permits[1]?.lease.release();
      const next = await test.through(waiting);
      expect(next.place).toBe(permits[1]?.place);
      expect(next.lease.token).toBeGreaterThan(permits[1]?.lease.token as bigint);
    });

    it("never have more holders than permits, and everybody's turn comes, a dead holder's place included", async () => {
      await using test = await open();
      await test.leases.grant("semaphore/s/1", { owner: "dead", ttlMs: 150 });
      const clients = ["a", "b"].map((owner) => test.semaphore(owner, 2));
      let inside = 0;
      let insideMax = 0;
      const turns = Array.from({ length: 16 }, async (_, n) => {
        const { lease } = await (clients[n % 2] as Semaphore).acquire();
        inside += 1;
        insideMax = Math.max(insideMax, inside);
        await test.leases.read("anything");
        inside -= 1;
        await lease.release();
      });
      await test.through(Promise.all(turns));
      expect(insideMax).toBeGreaterThanOrEqual(1);
      expect(insideMax).toBeLessThanOrEqual(2);
    });
  });
};
