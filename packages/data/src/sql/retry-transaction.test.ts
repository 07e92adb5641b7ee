import { OutcomeUnknownError, seededRandom } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import type { TimelineSwitch } from "../cluster/timeline-history.ts";
import {
  ConnectError,
  ConnectionLostError,
  ConstraintViolationError,
  SerializationFailureError,
} from "../errors.ts";
import type { Database, Transaction } from "./database.ts";
import { retryTransaction } from "./retry-transaction.ts";

interface Script {
  /** What each attempt's COMMIT does. */
  readonly commits: readonly (Error | "ok")[];
  readonly status?: string | null;
  readonly timeline?: number;
  readonly history?: readonly TimelineSwitch[];
  readonly xid?: string | null;
}

/** A database that answers as the script says: transactions run on timeline 1 up to position 0/100. */
const scripted = (script: Script) => {
  const asked: string[] = [];
  let attempt = 0;
  const answer = async (text: string): Promise<readonly object[]> => {
    asked.push(text);
    const where = { system_id: "7", timeline: script.timeline ?? 1 };
    if (text.includes("if_assigned"))
      return [{ ...where, timeline: 1, xid: script.xid === undefined ? "42" : script.xid, lsn: "0/100" }];
    if (text.includes("pg_xact_status")) return [{ ...where, status: script.status ?? null }];
    return [where];
  };
  const database = {
    kind: "postgres",
    query: answer,
    history: async () => script.history ?? [],
    transaction: async <T>(body: (tx: Transaction) => Promise<T>): Promise<T> => {
      const result = await body({ query: answer } as unknown as Transaction);
      const end = script.commits[attempt] ?? "ok";
      attempt += 1;
      if (end !== "ok") throw end;
      return result;
    },
  } as unknown as Database;
  return { database, asked, attempts: () => attempt };
};

const run = async (script: Script, options: { attemptMaxCount?: number } = {}) => {
  const clock = new VirtualClock();
  const { database, asked, attempts } = scripted(script);
  let bodies = 0;
  const end = retryTransaction(
    database,
    async () => {
      bodies += 1;
      return `run ${bodies}`;
    },
    { ...options, clock, random: seededRandom(1), resolveWaitMs: 1_000 },
  ).then(
    (value) => ({ value, error: undefined }),
    (error: unknown) => ({ value: undefined, error }),
  );
  for (let turn = 0; turn < 200; turn += 1) await clock.advance(50);
  return { ...(await end), bodies, attempts: attempts(), asked };
};

const lost = (): Error => new SerializationFailureError({ sqlState: "40001" });
const unknown = (): Error => new OutcomeUnknownError("COMMIT");

describe("a transaction that is run again", () => {
  it("runs as a whole after a serialisation failure, a deadlock or a broken connection", async () => {
    const failures = [
      lost(),
      new SerializationFailureError({ sqlState: "40P01" }),
      new ConnectionLostError("db"),
    ];
    expect(await run({ commits: failures })).toMatchObject({ value: "run 4", bodies: 4 });
  });

  it("stops at the limit with the last failure", async () => {
    const { error, bodies } = await run(
      { commits: [lost(), lost(), lost(), lost()] },
      { attemptMaxCount: 3 },
    );
    expect(error).toMatchObject({ code: "SQL_SERIALIZATION_FAILED" });
    expect(bodies).toBe(3);
  });

  it("does not run again after a failure that would come back", async () => {
    const failure = new ConstraintViolationError("unique", { sqlState: "23505" });
    expect(await run({ commits: [failure] })).toMatchObject({ error: failure, bodies: 1 });
  });

  it("does not run again when the server cannot be used for good, such as for want of the database", async () => {
    const failure = new ConnectError("db", "there is no database orders", { retryable: false });
    expect(await run({ commits: [failure] })).toMatchObject({ error: failure, bodies: 1 });
  });
});

describe("a COMMIT whose answer was lost", () => {
  it("returns the result of its only run when the server knows it as committed", async () => {
    expect(await run({ commits: [unknown()], status: "committed" })).toMatchObject({
      value: "run 1",
      bodies: 1,
    });
  });

  it("runs again only when the server knows it as aborted", async () => {
    expect(await run({ commits: [unknown()], status: "aborted" })).toMatchObject({
      value: "run 2",
      bodies: 2,
    });
  });

  it("runs again when it had written nothing", async () => {
    expect(await run({ commits: [unknown()], xid: null })).toMatchObject({ value: "run 2", bodies: 2 });
  });

  it("stays unknown when nobody can tell, and when it does not end in time", async () => {
    for (const status of [null, "in progress"]) {
      const { error, bodies } = await run({ commits: [unknown()], status });
      expect(error).toMatchObject({ code: "KERNEL_OUTCOME_UNKNOWN" });
      expect(bodies).toBe(1);
    }
  });

  const fork = (forkLsn: bigint): Pick<Script, "timeline" | "history"> => ({
    timeline: 2,
    history: [{ timeline: 1, forkLsn, reason: "", at: undefined, leader: undefined }],
  });

  it("is aborted when the new timeline begins before it, without asking for a number that may be another's by now", async () => {
    const { value, asked } = await run({ commits: [unknown()], status: "committed", ...fork(0xffn) });
    expect(value).toBe("run 2");
    expect(asked.some((text) => text.includes("pg_xact_status"))).toBe(false);
  });

  it("is what the new primary says when the new timeline has all of it", async () => {
    expect(await run({ commits: [unknown()], status: "committed", ...fork(0x100n) })).toMatchObject({
      value: "run 1",
    });
  });

  it("stays unknown when nothing tells where the old timeline ended", async () => {
    const { error } = await run({ commits: [unknown()], status: "committed", timeline: 2 });
    expect(error).toMatchObject({ code: "KERNEL_OUTCOME_UNKNOWN" });
  });
});
