import { hasCode, InvalidInputError } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import type { LeaseGrant, Leases } from "../lease/leases.ts";
import type { LeasesSetUp } from "./harness.ts";
import { expectLossRefused } from "./lossy-values.ts";

const grantOf = async (
  leases: Leases<never>,
  name: string,
  owner = "a",
  ttlMs = 60_000,
): Promise<LeaseGrant> => {
  const outcome = await leases.grant(name, { owner, ttlMs });
  if (outcome.kind !== "granted") throw new Error(`${name} is held by ${outcome.holder.owner}`);
  return outcome.grant;
};

/** What every backend guarantees about leases. */
export const leasesSuite = (setUp: LeasesSetUp): void => {
  describe("leases", () => {
    it("grants a free name and tells a second asker who holds it", async () => {
      await using harness = await setUp();
      const { leases } = harness.store;
      const metadata = { host: "10.0.0.1", ports: [1, 2], note: "ümlaut \u0000 \ud83d\ude80" };
      const first = await leases.grant("db/primary: a-b", { owner: "node-1", ttlMs: 300_000, metadata });
      expect(first).toMatchObject({
        kind: "granted",
        grant: { name: "db/primary: a-b", owner: "node-1", ttlMs: 300_000 },
      });
      const second = await leases.grant("db/primary: a-b", { owner: "node-2", ttlMs: 300_000 });
      expect(second).toMatchObject({ kind: "held", holder: { owner: "node-1", metadata } });
      if (second.kind !== "held" || first.kind !== "granted") return;
      expect(second.holder.token).toBe(first.grant.token);
      expect(second.holder.remainingMs).toBeGreaterThan(0);
      expect(second.holder.remainingMs).toBeLessThanOrEqual(300_000);
    });

    it("lets exactly one of many concurrent askers in", async () => {
      await using harness = await setUp();
      const outcomes = await Promise.all(
        Array.from({ length: 20 }, (_, index) =>
          harness.store.leases.grant("one", { owner: `o${index}`, ttlMs: 300_000 }),
        ),
      );
      expect(outcomes.filter(({ kind }) => kind === "granted")).toHaveLength(1);
    });

    it("lets a second holder in once the lease ends, with a larger token", async () => {
      await using harness = await setUp();
      const { leases } = harness.store;
      const first = await grantOf(leases, "a");
      await harness.elapse(60_001);
      expect(await leases.read("a")).toBeUndefined();
      const second = await grantOf(leases, "a", "b");
      expect(second.token).toBeGreaterThan(first.token);
      expect(await leases.renew([first], { ttlMs: 60_000 })).toEqual([false]);
      expect(await leases.release(first)).toBe(false);
      expect((await leases.read("a"))?.owner).toBe("b");
    });

    it("gives larger tokens from grant to grant, also across names, releases and revocations", async () => {
      await using harness = await setUp();
      const { leases } = harness.store;
      const tokens: bigint[] = [];
      for (const name of ["a", "b", "a", "c", "b"]) {
        const grant = await grantOf(leases, name);
        tokens.push(grant.token);
        if (name === "c") await leases.revokeAll();
        else await leases.release(grant);
      }
      const sorted = [...tokens].sort((x, y) => (x < y ? -1 : 1));
      expect(tokens).toEqual(sorted);
      expect(new Set(tokens).size).toBe(tokens.length);
    });

    it("finds a grant again by its request id, with the same token and a fresh TTL", async () => {
      await using harness = await setUp();
      const { leases } = harness.store;
      const ask = { owner: "a", ttlMs: 60_000, requestId: "r-1" };
      const first = await leases.grant("a", ask);
      await harness.elapse(42_000);
      const again = await leases.grant("a", ask);
      expect(again).toEqual(first);
      await harness.elapse(42_000);
      expect(await leases.read("a")).toBeDefined();
      expect((await leases.grant("a", { ...ask, requestId: "r-2" })).kind).toBe("held");
    });

    it("gives a request id that was released a new token", async () => {
      await using harness = await setUp();
      const { leases } = harness.store;
      const ask = { owner: "a", ttlMs: 60_000, requestId: "r-1" };
      const first = await leases.grant("a", ask);
      if (first.kind !== "granted") throw new Error("not granted");
      await leases.release(first.grant);
      const second = await leases.grant("a", ask);
      if (second.kind !== "granted") throw new Error("not granted");
      expect(second.grant.token).toBeGreaterThan(first.grant.token);
    });

    it("renews many leases in one call and says of each whether it still holds", async () => {
      await using harness = await setUp();
      const { leases } = harness.store;
      const kept = await grantOf(leases, "kept");
      const released = await grantOf(leases, "released");
      const other = await grantOf(leases, "other");
      await leases.release(released);
      const renewed = await leases.renew(
        [{ name: "unknown", token: 1n }, kept, released, { name: "other", token: other.token + 1000n }],
        { ttlMs: 540_000 },
      );
      expect(renewed).toEqual([false, true, false, false]);
      expect((await leases.read("kept"))?.remainingMs).toBeGreaterThan(300_000);
      expect((await leases.read("other"))?.remainingMs).toBeLessThanOrEqual(60_000);
      expect(await leases.renew([], { ttlMs: 60_000 })).toEqual([]);
    });

    it("renews an expired lease that nobody took", async () => {
      await using harness = await setUp();
      const { leases } = harness.store;
      const grant = await grantOf(leases, "a");
      await harness.elapse(60_001);
      expect(await leases.renew([grant], { ttlMs: 60_000 })).toEqual([true]);
      expect((await leases.read("a"))?.token).toBe(grant.token);
    });

    it("ends an expired lease that nobody took, so that it cannot be renewed any more", async () => {
      await using harness = await setUp();
      const { leases } = harness.store;
      const grant = await grantOf(leases, "a");
      await harness.elapse(60_001);
      expect(await leases.release(grant)).toBe(true);
      expect(await leases.release(grant)).toBe(false);
      expect(await leases.renew([grant], { ttlMs: 60_000 })).toEqual([false]);
      expect((await grantOf(leases, "a", "b")).token).toBeGreaterThan(grant.token);
    });

    it("keeps a renewed lease past its first end", async () => {
      await using harness = await setUp();
      const { leases } = harness.store;
      const grant = await grantOf(leases, "a");
      for (let round = 0; round < 3; round += 1) {
        await harness.elapse(42_000);
        expect(await leases.renew([grant], { ttlMs: 60_000 })).toEqual([true]);
      }
      expect((await leases.grant("a", { owner: "b", ttlMs: 60_000 })).kind).toBe("held");
    });

    it("frees the name at once on release, and refuses a second release", async () => {
      await using harness = await setUp();
      const { leases } = harness.store;
      const grant = await grantOf(leases, "a");
      expect(await leases.release(grant)).toBe(true);
      expect(await leases.release(grant)).toBe(false);
      expect(await leases.release({ name: "never", token: 1n })).toBe(false);
      expect(await leases.renew([grant], { ttlMs: 60_000 })).toEqual([false]);
      expect((await leases.grant("a", { owner: "b", ttlMs: 60_000 })).kind).toBe("granted");
    });

    it("lists unexpired leases of a prefix by name, up to the limit", async () => {
      await using harness = await setUp();
      const { leases } = harness.store;
      for (const name of ["job/b", "job/a", "other", "job/c_%", "job/é"]) await grantOf(leases, name);
      await grantOf(leases, "job/short", "a", 6000);
      await harness.elapse(30_000);
      expect((await leases.list("job/")).map(({ name }) => name)).toEqual([
        "job/a",
        "job/b",
        "job/c_%",
        "job/é",
      ]);
      expect((await leases.list("job/", { limit: 2 })).map(({ name }) => name)).toEqual(["job/a", "job/b"]);
      expect((await leases.list("job/c_")).map(({ name }) => name)).toEqual(["job/c_%"]);
      expect(await leases.list("")).toHaveLength(5);
      expect(await leases.list("%")).toEqual([]);
    });

    it("ends every lease by revokeAll, for ever, and counts them", async () => {
      await using harness = await setUp();
      const { leases } = harness.store;
      const grants = [await grantOf(leases, "a"), await grantOf(leases, "b")];
      expect(await leases.revokeAll()).toBe(2);
      expect(await leases.renew(grants, { ttlMs: 60_000 })).toEqual([false, false]);
      expect(await leases.list("")).toEqual([]);
      expect(await leases.revokeAll()).toBe(0);
    });

    it("refuses a TTL out of range or a name that no store could keep, instead of calling it busy", async () => {
      await using harness = await setUp();
      const { leases } = harness.store;
      for (const ttlMs of [0, 99, -1, Number.NaN, 86_400_001]) {
        await expect(leases.grant("a", { owner: "a", ttlMs })).rejects.toThrow(InvalidInputError);
      }
      for (const name of ["", "x".repeat(513), "nul\0", "\ud800"]) {
        await expect(leases.grant(name, { owner: "a", ttlMs: 60_000 })).rejects.toThrow(InvalidInputError);
      }
      const metadata = "x".repeat(10_000);
      const tooLarge = await leases
        .grant("a", { owner: "a", ttlMs: 60_000, metadata })
        .catch((error) => error);
      expect(hasCode(tooLarge, "COORDINATION_PAYLOAD_TOO_LARGE")).toBe(true);
      expect(await leases.read("a")).toBeUndefined();
    });

    it("does nothing for a signal that is already aborted, and throws its reason", async () => {
      await using harness = await setUp();
      const reason = new Error("gone");
      const signal = AbortSignal.abort(reason);
      await expect(harness.store.leases.grant("a", { owner: "a", ttlMs: 60_000, signal })).rejects.toBe(
        reason,
      );
      expect(await harness.store.leases.read("a")).toBeUndefined();
    });

    it("refuses metadata that it could not give back as it was, by path and kind, and grants nothing", async () => {
      await using harness = await setUp();
      const { leases } = harness.store;
      await expectLossRefused(
        "lease.metadata",
        (metadata) => leases.grant("a", { owner: "a", ttlMs: 60_000, metadata }),
        { mayBeAbsent: true },
      );
      expect(await leases.read("a")).toBeUndefined();
    });
  });
};
