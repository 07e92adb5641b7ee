import { deferred } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import type { ClusterRouter } from "../cluster/cluster-database.ts";
import type { NodePool } from "../cluster/node-pools.ts";
import type { TimelineSwitch } from "../cluster/timeline-history.ts";
import type { SessionRunOptions } from "../sql/session.ts";
import { createSession } from "./cluster-session.ts";

const isPosition = (text: string): boolean => text.includes("AS in_recovery");

type Answer = readonly object[] | "never";

/** A node whose answers `answer` gives; one that never comes ends with the caller's signal or time, as on a connection. */
const nodeOf = (
  clock: VirtualClock,
  role: "primary" | "replica",
  answer: (text: string) => Answer,
): NodePool => {
  const run = async (text: string, _values: unknown, { signal, timeoutMs }: SessionRunOptions) => {
    signal?.throwIfAborted();
    const rows = answer(text);
    if (rows !== "never") return { rows, rowCount: rows.length, command: "SELECT" };
    const end = deferred<never>();
    signal?.addEventListener("abort", () => end.reject(signal.reason));
    if (timeoutMs !== undefined) clock.schedule(timeoutMs, () => end.reject(new Error("out of time")));
    return end.promise;
  };
  const lease = async () => ({ connection: {}, session: { run }, release: () => undefined });
  return {
    identity: { name: role, role, timeline: 1, systemId: "7" },
    database: { lease },
  } as unknown as NodePool;
};

const setUp = (nodes: { readonly primary: NodePool; readonly replica: NodePool }, clock: VirtualClock) => {
  const state = { timeline: 1, history: async (): Promise<readonly TimelineSwitch[]> => [] };
  const router = {
    owner: {},
    get status() {
      return { systemId: "7", timeline: state.timeline };
    },
    parts: {
      pool: { clock },
      settings: { catchUpMs: 0, readFallback: "primary" },
      monitor: { history: [] },
    },
    pickReader: (fits: (pool: NodePool) => boolean) => [nodes.replica].find(fits),
    noteFailure: () => false,
    history: () => state.history(),
    onPrimaryPool: async (_options: unknown, work: (pool: NodePool, started: () => void) => unknown) =>
      work(nodes.primary, () => undefined),
  };
  return { state, router: router as unknown as ClusterRouter };
};

const at = (lsn: string, inRecovery: boolean, timeline = 1) => [
  { in_recovery: inRecovery, timeline, lsn, confirmed: null, confirmed_before: null },
];

describe("a session of a cluster", () => {
  it("waits no longer for a replica that does not answer than its caller does", async () => {
    const clock = new VirtualClock();
    const primary = nodeOf(clock, "primary", (text) => (isPosition(text) ? at("0/100", false) : []));
    const replica = nodeOf(clock, "replica", () => "never");
    const { router } = setUp({ primary, replica }, clock);
    const session = createSession(router, {});
    await session.query("INSERT INTO t VALUES (1)", []);
    const stop = new AbortController();
    const outcome = session.read("SELECT 1", [], { signal: stop.signal }).catch((error: unknown) => error);
    await clock.advance(1_000);
    stop.abort(new Error("enough"));
    await clock.advance(1);
    expect(await Promise.race([outcome, clock.advance(60_000).then(() => "still waiting")])).toEqual(
      new Error("enough"),
    );
  });

  it("asks the primary after a write that was aborted, which may have been done all the same", async () => {
    const clock = new VirtualClock();
    const asked: string[] = [];
    let isSilent = false;
    const primary = nodeOf(clock, "primary", (text) => {
      if (isSilent) return "never";
      return isPosition(text) ? at("0/100", false) : [{ by: "primary" }];
    });
    const replica = nodeOf(clock, "replica", (text) => {
      asked.push(text);
      return isPosition(text) ? at("0/100", true) : [{ by: "replica" }];
    });
    const { router } = setUp({ primary, replica }, clock);
    const session = createSession(router, {});
    expect(await session.read("SELECT 1", [])).toEqual([{ by: "replica" }]);
    isSilent = true;
    const stop = new AbortController();
    const write = session.query("INSERT INTO t VALUES (1)", [], { signal: stop.signal });
    const outcome = expect(write).rejects.toThrow("enough");
    await clock.advance(1);
    stop.abort(new Error("enough"));
    await outcome;
    isSilent = false;
    expect(await session.read("SELECT 1", [])).toEqual([{ by: "primary" }]);
  });

  it("is not put back by one of its calls that learns of a failover later than another", async () => {
    const clock = new VirtualClock();
    let written = "0/100";
    const primary = nodeOf(clock, "primary", (text) => (isPosition(text) ? at(written, false) : []));
    const { state, router } = setUp({ primary, replica: primary }, clock);
    const session = createSession(router, {});
    await session.query("INSERT INTO t VALUES (1)", []);
    // Promoted at 0/180; the one who asks second learns of it last.
    const history = [{ timeline: 1, forkLsn: 0x180n, reason: "", at: undefined, leader: undefined }];
    const answers = [deferred<typeof history>(), deferred<typeof history>()];
    let askedCount = 0;
    state.history = () => {
      askedCount += 1;
      return answers[askedCount - 1]?.promise ?? Promise.resolve(history);
    };
    state.timeline = 2;
    (primary.identity as { timeline: number }).timeline = 2;
    const quick = session.query("INSERT INTO t VALUES (2)", []);
    const slow = session.query("INSERT INTO t VALUES (3)", []);
    await clock.advance(1);
    expect(askedCount).toBe(2);
    written = "0/500";
    Object.assign(primary.database, {
      lease: async () => ({
        connection: {},
        session: {
          run: async (text: string) => ({
            rows: isPosition(text) ? at(written, false, 2) : [],
            rowCount: 0,
            command: "",
          }),
        },
        release: () => undefined,
      }),
    });
    answers[0]?.resolve(history);
    await quick;
    expect(session.position).toEqual({ timeline: 2, lsn: 0x500n });
    // What runs behind the slow answer never gets anywhere.
    Object.assign(primary.database, { lease: () => new Promise(() => undefined) });
    answers[1]?.resolve(history);
    await clock.advance(1);
    expect(session.position).toEqual({ timeline: 2, lsn: 0x500n });
    void slow;
  });
});
