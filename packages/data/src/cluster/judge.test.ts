import { describe, expect, it } from "vitest";
import { bestCandidate, type JudgeInput, judge, type ObservedNode } from "./judge.ts";
import type { NodeReport } from "./node-probe.ts";
import { PrimaryLog } from "./primary-log.ts";

const report = (fields: Partial<NodeReport>): NodeReport => ({
  systemId: "7",
  instance: `${Math.random()}`,
  inRecovery: true,
  timeline: 2,
  lsn: 1_000n,
  receivedLsn: 1_000n,
  synchronous: undefined,
  ...fields,
});
const node = (
  name: string,
  fields: Partial<NodeReport> | undefined,
  more: Partial<ObservedNode> = {},
): ObservedNode => {
  const given = fields === undefined ? undefined : report(fields);
  return {
    name,
    address: `${name}:5432`,
    report: given,
    lastReport: given,
    reportedAt: given === undefined ? undefined : 10_000,
    problem: given === undefined ? "it does not answer" : undefined,
    writableSince: given?.inRecovery === false ? 5_000 : undefined,
    isHeldBack: false,
    patroniLag: "known",
    ...more,
  };
};
const primary = (name: string, fields: Partial<NodeReport> = {}): ObservedNode =>
  node(name, { inRecovery: false, ...fields });

const judged = (nodes: readonly ObservedNode[], more: Partial<JudgeInput> = {}) =>
  judge({
    nodes,
    systemId: "7",
    timeline: 2,
    leaders: undefined,
    leadersAskedAt: 9_900,
    bounds: { lagMaxMs: 5_000, lagMaxBytes: 10_000n },
    now: 10_000,
    lagOf: ({ lsn }) => ({ bytes: 1_000n - lsn, ms: Number(1_000n - lsn) }),
    ...more,
  });
const readers = (result: ReturnType<typeof judged>): readonly string[] =>
  result.nodes.filter(({ takesReads }) => takesReads).map(({ name }) => name);

describe("who is the primary", () => {
  it("is the one that takes writes on the newest timeline", () => {
    const result = judged([primary("a"), node("b", {}), node("c", {})]);
    expect(result.primary).toBe("a");
    expect(result.condition.kind).toBe("healthy");
  });

  it("is never a returned one of an older timeline, whether or not there is a newer", () => {
    expect(judged([primary("old", { timeline: 1 }), primary("new")]).primary).toBe("new");
    const alone = judged([primary("old", { timeline: 1 })]);
    expect(alone.primary).toBeUndefined();
    expect(alone.nodes[0]?.isStale).toBe(true);
  });

  it("is never one of another database system", () => {
    const result = judged([primary("stranger", { systemId: "8" }), node("b", {})]);
    expect(result.primary).toBeUndefined();
    expect(result.nodes[0]).toMatchObject({ health: "foreign", takesReads: false });
    expect(result.nodes[0]?.problem).toMatch(/system 8/);
  });

  it("is nobody while Patroni's key is held by nobody or by another, however writable the old one is", () => {
    expect(judged([primary("a"), node("b", {})], { leaders: [] }).primary).toBeUndefined();
    expect(judged([primary("a"), node("b", {})], { leaders: ["b"] }).primary).toBeUndefined();
    expect(judged([primary("a"), node("b", {})], { leaders: ["a"] }).primary).toBe("a");
  });

  it("is believed by itself when it took over after Patroni was asked, until Patroni has had its say", () => {
    const nodes = [primary("a"), node("b", {})];
    expect(judged(nodes, { leaders: [], leadersAskedAt: 4_999 }).primary).toBe("a");
    expect(judged(nodes, { leaders: [], leadersAskedAt: 5_000 }).primary).toBeUndefined();
  });

  it("is nobody before every server was asked once, where Patroni says nothing", () => {
    const unseen = node("b", undefined, { problem: undefined });
    expect(judged([primary("a"), unseen]).primary).toBeUndefined();
    expect(judged([primary("a"), unseen], { leaders: ["a"] }).primary).toBe("a");
    expect(judged([primary("a"), node("b", undefined)]).primary).toBe("a");
  });

  it("is nobody when two servers take writes on one timeline: split brain, named, and no writes", () => {
    const result = judged([primary("a"), primary("b"), node("c", {})]);
    expect(result.primary).toBeUndefined();
    expect(result.condition).toEqual({
      kind: "split-brain",
      takesWrites: false,
      takesReads: true,
      nodes: ["a", "b"],
    });
    expect(judged([primary("a")], { leaders: ["a", "b"] }).condition.kind).toBe("split-brain");
  });

  it("is one server though it is reached under two names", () => {
    const result = judged([primary("write", { instance: "x" }), primary("read", { instance: "x" })]);
    expect(result.primary).toBe("write");
    expect(result.condition.kind).toBe("no-replica");
  });
});

describe("who takes reads", () => {
  it("are replicas that stream, are not held back, and are within both bounds", () => {
    const result = judged(
      [
        primary("a"),
        node("fresh", {}),
        node("held back", {}, { isHeldBack: true }),
        node("unknown", {}, { patroniLag: "unknown" }),
        node("late", { lsn: 0n }),
        node("other timeline", { timeline: 1 }),
        node("gone", undefined),
      ],
      { bounds: { lagMaxMs: 500, lagMaxBytes: 10_000n } },
    );
    expect(readers(result)).toEqual(["a", "fresh"]);
    expect(result.condition).toMatchObject({ kind: "degraded", takesWrites: true });
  });

  it("without a primary are the replicas with what they have", () => {
    const result = judged([node("b", {}), node("c", { timeline: 1 })], { leaders: [] });
    expect(readers(result)).toEqual(["b", "c"]);
    expect(result.condition).toEqual({ kind: "no-primary", takesWrites: false, takesReads: true });
  });
});

describe("what the whole is called", () => {
  it("counts as unknown before the first look, and as down when nobody answers", () => {
    const unseen = node("a", undefined, { problem: undefined });
    expect(judged([unseen]).nodes[0]).toMatchObject({
      health: "unknown",
      role: undefined,
      lagBytes: undefined,
      checkedAgoMs: undefined,
    });
    expect(judged([node("a", undefined)]).condition.kind).toBe("down");
    expect(judged([]).condition.kind).toBe("down");
  });

  it("is lag when no replica is within the bound, and a lone primary when there is none", () => {
    const result = judged([primary("a"), node("b", { lsn: 0n })], {
      bounds: { lagMaxMs: 500, lagMaxBytes: 10_000n },
    });
    expect(result.condition).toMatchObject({ kind: "replica-lag", nodes: ["b"] });
    expect(judged([primary("a"), node("b", undefined)]).condition.kind).toBe("no-replica");
  });

  it("is blocked when commits wait for a replica that is not there", () => {
    const blocked = primary("a", { synchronous: { wanted: "*", attachedCount: 0 } });
    expect(judged([blocked]).condition).toEqual({
      kind: "write-blocked",
      takesWrites: false,
      takesReads: true,
    });
  });
});

describe("lag", () => {
  it("is none on an idle primary, however long nothing was written", () => {
    const log = new PrimaryLog(1);
    for (let at = 0; at < 3_600_000; at += 1_000) log.note(at, 500n);
    expect(log.lagAt(3_600_000, 500n)).toEqual({ bytes: 0n, ms: 0 });
  });

  it("is how long ago the primary was where the replica is now", () => {
    const log = new PrimaryLog(1);
    for (let at = 0; at <= 10_000; at += 1_000) log.note(at, BigInt(at));
    expect(log.lagAt(10_000, 7_000n)).toEqual({ bytes: 3_000n, ms: 3_000 });
    expect(log.lagAt(10_000, 7_500n)).toEqual({ bytes: 2_500n, ms: 3_000 });
    expect(log.lagAt(5_000, 5_000n)).toEqual({ bytes: 0n, ms: 0 });
  });

  it("is not told for a replica that is behind all that is remembered", () => {
    const log = new PrimaryLog(1);
    expect(log.lagAt(0, 1n)).toBeUndefined();
    log.note(0, 100n);
    expect(log.lagAt(1_000, 1n)).toEqual({ bytes: 99n, ms: undefined });
  });
});

describe("who would be promoted", () => {
  it("is the reachable replica of the newest timeline that received most", () => {
    const { nodes } = judged(
      [
        node("behind", { receivedLsn: 900n }),
        node("furthest", { lsn: 100n, receivedLsn: 999n }),
        node("other timeline", { timeline: 1, receivedLsn: 5_000n }),
        node("gone", undefined),
        node("stranger", { systemId: "8", receivedLsn: 9_000n }),
      ],
      { leaders: [] },
    );
    expect(bestCandidate(nodes, 2)?.name).toBe("furthest");
    expect(bestCandidate([], 2)).toBeUndefined();
  });
});
