import { describe, expect, it, vi } from "vitest";
import { LeaseKeeper } from "../lease/lease-keeper.ts";
import type { GrantOutcome, HandedLease, LeaseGrant, Leases, LinePlace } from "../lease/leases.ts";
import { Locks } from "../lock/locks.ts";
import type { LeasesSetUp } from "./harness.ts";

/** Longer than a place in line is kept without being asked for again. */
const PLACE_OVER_MS = 10_000;
/** Longer than what is handed over lasts before its new holder shows up. */
const TERM_OVER_MS = 3000;

class Waiter {
  readonly place: LinePlace;
  readonly handed: HandedLease[] = [];
  wakeCount = 0;

  constructor(leases: Leases<never>, owner: string) {
    if (leases.standInLine === undefined) throw new Error("the store hands nothing on");
    this.place = leases.standInLine("x", {
      owner,
      ttlMs: 60_000,
      requestId: `request of ${owner}`,
      onNews: (handed) => {
        if (handed === undefined) this.wakeCount += 1;
        else this.handed.push(handed);
      },
    });
  }

  async isHeld(): Promise<boolean> {
    return (await this.place.look()).kind === "held";
  }

  /** What the release of another gave it. */
  async waitForHanded(): Promise<LeaseGrant> {
    await until(() => this.handed.length > 0);
    return (this.handed[0] as HandedLease).grant;
  }
}

const until = (holds: () => boolean): Promise<void> =>
  vi.waitFor(() => expect(holds()).toBe(true), { interval: 1 });

const granted = (outcome: GrantOutcome): LeaseGrant => {
  if (outcome.kind !== "granted") throw new Error(`held by ${outcome.holder.owner}`);
  return outcome.grant;
};

/** What a store guarantees that hands a released lease to who waits for it. Leases of any other pass `leasesSuite`. */
export const leaseLinesSuite = (setUp: LeasesSetUp): void => {
  describe("lines for leases", () => {
    const open = async () => {
      const harness = await setUp();
      const { leases } = harness.store;
      const waiters: Waiter[] = [];
      return {
        leases,
        elapse: harness.elapse,
        hold: async () => granted(await leases.grant("x", { owner: "holder", ttlMs: 60_000 })),
        /** Waits in line, and its store listens for it. */
        wait: async (owner: string): Promise<Waiter> => {
          const waiter = new Waiter(leases, owner);
          waiters.push(waiter);
          // A store listens from its first place on, and says when it does.
          if (waiters.length === 1) await until(() => waiter.wakeCount > 0);
          expect(await waiter.isHeld()).toBe(true);
          return waiter;
        },
        [Symbol.asyncDispose]: async () => {
          for (const { place } of waiters) place.end({ isGranted: true });
          await harness[Symbol.asyncDispose]();
        },
      };
    };

    it("hand a released lease to who waits longest, whoever asks meanwhile, with growing tokens", async () => {
      await using test = await open();
      const first = await test.hold();
      const [a, b] = [await test.wait("a"), await test.wait("b")];
      // A look keeps the place; it does not lose it.
      expect(await a.isHeld()).toBe(true);
      expect(await test.leases.release(first)).toBe(true);
      expect((await test.leases.grant("x", { owner: "late", ttlMs: 60_000 })).kind).toBe("held");
      expect((await test.leases.read("x"))?.owner).toBe("a");
      const second = await a.waitForHanded();
      expect(second.token).toBeGreaterThan(first.token);
      expect(await test.leases.renew([second], { ttlMs: 60_000 })).toEqual([true]);
      expect(await test.leases.release(second)).toBe(true);
      const third = await b.waitForHanded();
      expect(third.token).toBeGreaterThan(second.token);
      expect(await test.leases.release(third)).toBe(true);
      expect(await test.leases.read("x")).toBeUndefined();
    });

    it("give a look what was handed over, also when the message was lost", async () => {
      await using test = await open();
      const first = await test.hold();
      const a = await test.wait("a");
      await test.leases.release(first);
      const handed = granted(await a.place.look());
      expect(handed.token).toBeGreaterThan(first.token);
      expect((await test.leases.read("x"))?.token).toBe(handed.token);
    });

    it("pass over who shows no sign of life, and take a lease back that nobody came for", async () => {
      await using test = await open();
      const first = await test.hold();
      await test.wait("died long ago");
      await test.leases.renew([first], { ttlMs: 80_000 });
      await test.elapse(PLACE_OVER_MS);
      await test.wait("died just now");
      const c = await test.wait("c");
      await test.leases.release(first);
      expect((await test.leases.read("x"))?.owner).toBe("died just now");
      await test.elapse(TERM_OVER_MS);
      const next = granted(await c.place.look());
      expect(next.token).toBeGreaterThan(first.token);
      // It stands in line no more, so its release frees the lease.
      expect(await test.leases.release(next)).toBe(true);
      expect(await test.leases.read("x")).toBeUndefined();
    });

    it("are there yet after a lease that lapsed went to who asked first, and after its renewal", async () => {
      await using test = await open();
      const first = granted(await test.leases.grant("x", { owner: "paused", ttlMs: 1000 }));
      const a = await test.wait("a");
      await test.elapse(1001);
      const late = granted(await test.leases.grant("x", { owner: "late", ttlMs: 60_000 }));
      expect(late.token).toBeGreaterThan(first.token);
      expect(await test.leases.release(first)).toBe(false);
      expect(await test.leases.renew([late], { ttlMs: 80_000 })).toEqual([true]);
      expect(await test.leases.release(late)).toBe(true);
      expect((await a.waitForHanded()).token).toBeGreaterThan(late.token);
    });

    it("are handed a lease that lapsed by its release, when nobody looked in between", async () => {
      await using test = await open();
      const first = granted(await test.leases.grant("x", { owner: "paused", ttlMs: 1000 }));
      const a = await test.wait("a");
      await test.elapse(1001);
      expect(await test.leases.release(first)).toBe(true);
      const second = await a.waitForHanded();
      expect(second.token).toBeGreaterThan(first.token);
      expect(await test.leases.release(first)).toBe(false);
      expect((await test.leases.read("x"))?.token).toBe(second.token);
    });

    it("get the lease, and others the news, when both wait for one release", async () => {
      await using test = await open();
      const first = await test.hold();
      let isTold = false;
      const stop = test.leases.onReleased("x", () => {
        isTold = true;
      });
      const a = await test.wait("a");
      await test.leases.list("x", { awaitRelease: true });
      // It begins to listen in its own time, and says then that something may have been missed.
      await until(() => isTold);
      isTold = false;
      await test.leases.release(first);
      await until(() => isTold);
      await a.waitForHanded();
      stop();
    });

    it("forget who gives up, and free what it was handed meanwhile for who comes next", async () => {
      await using test = await open();
      const first = await test.hold();
      const [a, b, c] = [await test.wait("a"), await test.wait("b"), await test.wait("c")];
      a.place.end({ isGranted: false });
      await test.leases.read("x");
      await test.leases.release(first);
      await b.waitForHanded();
      // It has it, and does not know or want it any more.
      b.place.end({ isGranted: false });
      const last = await c.waitForHanded();
      expect((await test.leases.read("x"))?.token).toBe(last.token);
    });

    it("count the time of a handed lease from no later than it was handed over, and renew it soon", async () => {
      await using test = await open();
      const first = await test.hold();
      const before = performance.now();
      const a = await test.wait("a");
      await test.leases.release(first);
      const { ttlMs } = await a.waitForHanded();
      const [handed] = a.handed;
      expect(ttlMs).toBeLessThanOrEqual(2000);
      expect(handed?.askedAt).toBeGreaterThanOrEqual(before);
      expect(handed?.askedAt).toBeLessThanOrEqual(performance.now());
    });

    it("stay short: who finds the line full looks now and then, and comes in when there is room", async () => {
      await using test = await open();
      const first = await test.hold();
      const waiters: Waiter[] = [];
      for (let n = 0; n < 64; n += 1) waiters.push(await test.wait(`w${n}`));
      const outside = await test.wait("outside");
      waiters[0]?.place.end({ isGranted: false });
      await test.leases.read("x");
      expect(await outside.isHeld()).toBe(true);
      let holder = first;
      for (const waiter of waiters.slice(1)) {
        await test.leases.release(holder);
        holder = await waiter.waitForHanded();
      }
      await test.leases.release(holder);
      expect((await outside.waitForHanded()).owner).toBe("outside");
    });

    it("are left by a wait that ends in vain, so that nothing is handed to it", async () => {
      await using test = await open();
      const first = await test.hold();
      const locks = new Locks({ leases: test.leases, owner: "impatient", prefix: "" });
      await expect(locks.get("x").acquire({ waitMs: 5 })).rejects.toMatchObject({
        code: "COORDINATION_LOCK_TIMEOUT",
      });
      const controller = new AbortController();
      const aborted = locks.get("x").acquire({ signal: controller.signal });
      controller.abort(new Error("enough"));
      await expect(aborted).rejects.toThrow("enough");
      await test.leases.read("x");
      await test.leases.release(first);
      // Should the second have been in line yet, it has left it by its own release.
      await vi.waitFor(async () => expect(await test.leases.read("x")).toBeUndefined());
      await locks.close();
    });

    it("keep a lease that was handed over for as long as it is held", async () => {
      await using test = await open();
      const first = await test.hold();
      await using keeper = new LeaseKeeper({ leases: test.leases, ttlMs: 60_000 });
      let news = 0;
      const place = keeper.standInLine("x", { owner: "a", onNews: () => (news += 1) });
      expect((await place.look(undefined)).kind).toBe("held");
      await test.leases.release(first);
      await until(() => news > 0);
      const outcome = await place.look(undefined);
      place.end();
      if (outcome.kind !== "granted") throw new Error("not granted");
      expect(outcome.lease.isHeld).toBe(true);
      // Renewed to its whole TTL before the short term that it was handed over for is over.
      await vi.waitFor(async () =>
        expect((await test.leases.read("x"))?.remainingMs).toBeGreaterThan(30_000),
      );
      expect((await test.leases.read("x"))?.token).toBe(outcome.lease.token);
      expect(outcome.lease.isHeld).toBe(true);
    });
  });
};
