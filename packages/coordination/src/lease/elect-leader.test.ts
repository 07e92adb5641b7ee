import { createMemoryStore } from "@holdfast/coordination/memory";
import { InvalidInputError, seededRandom, silentLogger, TaskGroup } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it, vi } from "vitest";
import { StoreUnavailableError } from "../errors.ts";
import { electLeader, type Term } from "./elect-leader.ts";

const TTL_MS = 3000;

interface Candidate {
  readonly owner: string;
  readonly group: TaskGroup;
  readonly terms: Term[];
  readonly seen: string[];
}

const setUp = () => {
  const clock = new VirtualClock();
  const store = createMemoryStore({ clock });
  const leading = new Set<string>();
  const groups: TaskGroup[] = [];
  let mostAtOnce = 0;
  const campaign = (owner: string, lead?: (term: Term) => Promise<void>): Candidate => {
    const group = new TaskGroup({ logger: silentLogger });
    groups.push(group);
    const candidate: Candidate = { owner, group, terms: [], seen: [] };
    group.spawn("campaign", (signal) =>
      electLeader({
        leases: store.leases,
        name: "office",
        owner,
        ttlMs: TTL_MS,
        clock,
        random: seededRandom(groups.length),
        signal,
        onLeader: (leader) => candidate.seen.push(leader.owner),
        lead: async (term) => {
          candidate.terms.push(term);
          leading.add(owner);
          mostAtOnce = Math.max(mostAtOnce, leading.size);
          await (lead ?? ended)(term);
          leading.delete(owner);
        },
      }),
    );
    return candidate;
  };
  return {
    clock,
    store,
    leading,
    campaign,
    mostAtOnce: () => mostAtOnce,
    [Symbol.asyncDispose]: async () => {
      await Promise.all(groups.map((group) => group.stop()));
    },
  };
};

const ended = (term: Term): Promise<void> =>
  new Promise((resolve) => {
    if (term.signal.aborted) resolve();
    else term.signal.addEventListener("abort", () => resolve(), { once: true });
  });

describe("an election", () => {
  it("lets one of many candidates lead, and tells the others who it is", async () => {
    await using test = setUp();
    const candidates = ["a", "b", "c", "d"].map((owner) => test.campaign(owner));
    await test.clock.advance(20 * TTL_MS);
    expect([...test.leading]).toEqual(["a"]);
    expect(test.mostAtOnce()).toBe(1);
    for (const { seen } of candidates) expect(seen).toEqual(["a"]);
  });

  it("replaces a leader that resigns, with a larger token", async () => {
    await using test = setUp();
    const first = test.campaign("a");
    await test.clock.advance(10);
    const second = test.campaign("b");
    await test.clock.advance(TTL_MS);
    await first.group.stop();
    await test.clock.advance(TTL_MS / 3);
    expect([...test.leading]).toEqual(["b"]);
    expect(second.terms[0]?.token).toBeGreaterThan(first.terms[0]?.token as bigint);
    expect(second.seen).toEqual(["a", "b"]);
  });

  it("stops a leader that cannot reach the store before another leads", async () => {
    await using test = setUp();
    const first = test.campaign("a");
    await test.clock.advance(10);
    const grant = test.store.leases.grant.bind(test.store.leases);
    const away = new StoreUnavailableError("partition");
    vi.spyOn(test.store.leases, "renew").mockRejectedValue(away);
    vi.spyOn(test.store.leases, "grant").mockImplementation((name, options) =>
      options.owner === "a" ? Promise.reject(away) : grant(name, options),
    );
    test.campaign("b");
    await test.clock.advanceUntil(() => test.leading.has("b"), 3 * TTL_MS);
    expect(first.terms[0]?.signal.aborted).toBe(true);
    expect(test.mostAtOnce()).toBe(1);
  });

  it("campaigns again after a term that ended or failed", async () => {
    await using test = setUp();
    let count = 0;
    const candidate = test.campaign("a", async () => {
      count += 1;
      if (count === 2) throw new Error("bad day");
    });
    await test.clock.advance(5 * TTL_MS);
    expect(candidate.terms.length).toBeGreaterThanOrEqual(5);
    const tokens = candidate.terms.map(({ token }) => token);
    expect(tokens).toEqual([...tokens].sort((x, y) => (x < y ? -1 : 1)));
  });

  it("goes on campaigning while the store is away", async () => {
    await using test = setUp();
    const grant = vi.spyOn(test.store.leases, "grant").mockRejectedValue(new StoreUnavailableError("grant"));
    test.campaign("a");
    await test.clock.advance(5 * TTL_MS);
    expect(test.leading.size).toBe(0);
    grant.mockRestore();
    await test.clock.advance(TTL_MS);
    expect([...test.leading]).toEqual(["a"]);
  });

  it("gives the office back when its signal aborts, and ends with the signal's reason", async () => {
    await using test = setUp();
    const controller = new AbortController();
    const reason = new Error("enough");
    const election = electLeader({
      leases: test.store.leases,
      name: "office",
      owner: "a",
      clock: test.clock,
      signal: controller.signal,
      lead: ended,
    });
    await test.clock.advance(10);
    expect((await test.store.leases.read("office"))?.owner).toBe("a");
    controller.abort(reason);
    await expect(election).rejects.toBe(reason);
    expect(await test.store.leases.read("office")).toBeUndefined();
    expect(test.clock.pendingCount).toBe(0);
  });

  it("is refused at once with a lease that cannot be, instead of campaigning for ever", async () => {
    const { clock, store } = setUp();
    const campaign = electLeader({
      leases: store.leases,
      name: "office",
      owner: "a",
      ttlMs: 50,
      clock,
      lead: async () => undefined,
    });
    await expect(campaign).rejects.toThrow(InvalidInputError);
  });
});
