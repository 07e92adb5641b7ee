import { seededRandom, systemClock } from "@holdfast/kernel";
import { waitUntil } from "@holdfast/testkit";
import { describeService, expectFigure } from "@holdfast/testkit/vitest";
import { afterAll, beforeAll, expect, it } from "vitest";
import { parseLsn } from "../src/cluster/log-position.ts";
import {
  type ClusterDatabase,
  type ClusterSession,
  type ListenInterruption,
  PatroniClient,
  type PrimaryChange,
  readServerFacts,
} from "../src/index.ts";
import { type Fault, FaultyCluster } from "./failover/faulty-cluster.ts";
import { Ledger } from "./failover/ledger.ts";
import { failOver } from "./failover/run-failovers.ts";
import { measuredOn } from "./measured-on.ts";
import { sqlSuite } from "./sql.suite.ts";

/** The leader's key lives 5 s here. A busy machine takes its time to promote; what is ours is a fraction of a second. */
const OUTAGE_MAX_MS = 5_000 + 7_000;

/** bench/soak/failover.mjs does all six, and more often. */
const SHORT: readonly Fault[] = ["kill -9 of PostgreSQL and Patroni", "SIGSTOP of everything"];

const IN_RECOVERY = "SELECT pg_is_in_recovery() AS replica";

/** Keeps writing single statements and transactions until it is stopped. */
const writeOn = (database: ClusterDatabase, table: string) => {
  const failures: string[] = [];
  let count = 0;
  let isStopped = false;
  const work = async (worker: number): Promise<void> => {
    for (let number = 0; !isStopped; number += 1) {
      try {
        if (number % 2 === 0) await database.query(`INSERT INTO ${table} VALUES ($1, $2)`, [worker, number]);
        else {
          await database.transaction(async (tx) => {
            await tx.query(`INSERT INTO ${table} VALUES ($1, $2)`, [worker, number]);
            await tx.query("SELECT 1", []);
          });
        }
        count += 1;
      } catch (error) {
        failures.push((error as Error).message);
      }
      await new Promise((resolve) => setTimeout(resolve, 3));
    }
  };
  const done = Promise.all([0, 1, 2, 3].map(work));
  return {
    failures,
    count: () => count,
    stop: async () => {
      isStopped = true;
      await done;
    },
  };
};

describeService("patroni", "a cluster under Patroni", () => {
  let cluster: FaultyCluster;
  let database: ClusterDatabase;
  beforeAll(async () => {
    cluster = await FaultyCluster.start();
    database = await cluster.open();
    await database.query("CREATE TABLE pairs (worker int, number int); CREATE SEQUENCE ledger_id");
    await cluster.untilReady();
    await waitUntil("every replica to take reads", () =>
      database.status().nodes.every(({ takesReads }) => takesReads),
    );
  }, 90_000);
  afterAll(async () => {
    await database?.close({ graceMs: 0 });
    await cluster?.[Symbol.asyncDispose]();
  });

  sqlSuite("a cluster", () => database);

  it("names every node with role, timeline, position and lag, counts the healthy ones, and says what the server is", async () => {
    const { nodes, primary, timeline, healthyCount, systemId } = await database.refresh();
    expect(nodes.map(({ name }) => name).sort()).toEqual(["n1", "n2", "n3"]);
    expect(nodes.filter(({ role }) => role === "primary").map(({ name }) => name)).toEqual([primary]);
    expect({ timeline, healthyCount }).toEqual({ timeline: 1, healthyCount: 3 });
    expect(systemId).toMatch(/^\d+$/);
    const facts = await readServerFacts(database);
    expect(facts).toMatchObject({ database: "postgres", user: "postgres", tls: undefined });
    expect(facts.serverVersion).toBe(database.serverVersion);
    expect(facts.extensions).toHaveProperty("plpgsql");
  });

  it("writes to the primary and reads from replicas", async () => {
    expect(await database.query(IN_RECOVERY, [])).toEqual([{ replica: false }]);
    expect(await database.read(IN_RECOVERY, [])).toEqual([{ replica: true }]);
    expect(await database.read(IN_RECOVERY, [], { from: "primary" })).toEqual([{ replica: false }]);
    await expect(database.read("CREATE TABLE never (id int)", [])).rejects.toMatchObject({
      code: "KERNEL_INVALID_INPUT",
    });
    await expect(database.read("SELECT nextval('ledger_id')", [])).rejects.toMatchObject({
      code: "SQL_READ_ONLY",
    });
  });

  it("answers health checks by their status without touching traffic", async () => {
    const leader = await cluster.servers.waitForLeader();
    const client = new PatroniClient({ url: `http://127.0.0.1:${leader.restPort}`, clock: systemClock });
    expect(await client.check("/primary")).toBe(200);
    expect(await client.check("/replica")).toBe(503);
    expect(await client.check("/health")).toBe(200);
  });

  it("shows no lag on an idle primary, and takes reads away from replicas beyond the bound until they caught up", async () => {
    await using strict = await cluster.open({ lagMaxMs: 300, pollEveryMs: 100, readFallback: "error" });
    await waitUntil("reads", () => strict.status().nodes.every(({ takesReads }) => takesReads));
    expect(strict.status().nodes.map(({ lagBytes, lagMs }) => [lagBytes, lagMs])).toEqual([
      [0n, 0],
      [0n, 0],
      [0n, 0],
    ]);
    const release = await cluster.holdReplay();
    try {
      await database.query("INSERT INTO pairs SELECT 0, g FROM generate_series(1, 1000) g", []);
      const late = await waitUntil("the lag to be noticed", () => {
        const { condition, nodes } = strict.status();
        return condition.kind === "replica-lag" ? nodes.filter(({ role }) => role === "replica") : undefined;
      });
      for (const { lagBytes = 0n, lagMs = 0 } of late) {
        expect(lagBytes).toBeGreaterThan(1_000n);
        expect(lagMs).toBeGreaterThan(300);
      }
      await expect(strict.read("SELECT 1", [])).rejects.toMatchObject({
        code: "DATA_NO_REPLICA",
        retryable: true,
      });
    } finally {
      release();
    }
    await waitUntil("the replicas to take reads again", () => strict.status().condition.kind === "healthy");
  });

  it("lets a session read its own writes: waits for a replica that is behind, then asks the primary", async () => {
    await using patient = await cluster.open({ catchUpMs: 10_000 });
    await using impatient = await cluster.open({ catchUpMs: 30 });
    await waitUntil("reads", () => patient.status().nodes.every(({ takesReads }) => takesReads));
    const release = await cluster.holdReplay();
    const quick = impatient.session();
    const slow = patient.session();
    const count = `SELECT count(*)::int AS count, pg_is_in_recovery() AS replica FROM pairs WHERE worker = 77`;
    await quick.query("INSERT INTO pairs VALUES (77, 1)", []);
    await slow.query("INSERT INTO pairs VALUES (77, 2)", []);
    expect(await quick.read(count, [])).toEqual([{ count: 2, replica: false }]);
    const waiting = slow.read(count, []);
    release();
    expect(await waiting).toEqual([{ count: 2, replica: true }]);
    // The place goes with the token, to another process for example.
    const elsewhere = patient.session({ token: slow.token() });
    expect(elsewhere.position).toEqual(slow.position);
    expect(await elsewhere.read(count, [])).toEqual([{ count: 2, replica: true }]);
    expect(() => patient.session({ token: `1:${slow.token()?.split(":").slice(1).join(":")}` })).toThrow(
      /token of database system/,
    );
  });

  it("keeps 10,000 pairs of a write and a read in order while replicas stop and go", async () => {
    let isOver = false;
    let pairs = 0;
    // The replicas stand still for a part of the pairs and go for another, however fast those are.
    const untilMore = (count: number): Promise<unknown> => {
      const target = pairs + count;
      return waitUntil("more pairs", () => isOver || pairs >= target, { intervalMs: 5, timeoutMs: 60_000 });
    };
    const disturb = async (): Promise<void> => {
      while (!isOver) {
        const release = await cluster.holdReplay();
        try {
          await untilMore(300);
        } finally {
          release();
        }
        await untilMore(600);
      }
    };
    const disturbing = disturb();
    await using hurried = await cluster.open({ catchUpMs: 5, max: 25 });
    await hurried.query("CREATE TABLE counters (worker int PRIMARY KEY, value int)", []);
    let fromReplica = 0;
    const work = async (worker: number): Promise<void> => {
      const session = hurried.session();
      await session.query("INSERT INTO counters VALUES ($1, 0)", [worker]);
      for (let value = 1; value <= 200; value += 1) {
        await session.query("UPDATE counters SET value = $2 WHERE worker = $1", [worker, value]);
        const [row] = await session.read<{ value: number; replica: boolean }>(
          "SELECT value, pg_is_in_recovery() AS replica FROM counters WHERE worker = $1",
          [worker],
        );
        if (row?.value !== value)
          throw new Error(`worker ${worker} read ${row?.value} after writing ${value}`);
        if (row.replica) fromReplica += 1;
        pairs += 1;
      }
    };
    try {
      await Promise.all(Array.from({ length: 50 }, (_, worker) => work(worker)));
    } finally {
      isOver = true;
      await disturbing;
    }
    expect(fromReplica).toBeGreaterThan(100);
  }, 300_000);

  it("gets over connections that are reset, by itself where that is safe", async () => {
    for (let round = 0; round < 5; round += 1) {
      cluster.resetClients();
      expect(await database.query(IN_RECOVERY, [])).toEqual([{ replica: false }]);
      expect(await database.read("SELECT 1 AS one", [])).toEqual([{ one: 1 }]);
    }
  });

  it("finds its way by one Patroni, and keeps the last map when none answers", async () => {
    const { nodes } = cluster.servers;
    const mendMost = cluster.cutPatroni(nodes.slice(1));
    await using late = await cluster.open();
    expect(late.status().discovery).toBe("patroni");
    expect((await late.refresh()).nodes).toHaveLength(3);
    const mendLast = cluster.cutPatroni(nodes.slice(0, 1));
    await waitUntil("silence", () => late.status().discovery === "none");
    expect(await late.query(IN_RECOVERY, [])).toEqual([{ replica: false }]);
    expect(late.status().nodes).toHaveLength(3);
    await Promise.all([mendMost(), mendLast()]);
    await waitUntil("Patroni again", () => late.status().discovery === "patroni");
  });

  it("does the same by a list of hosts, and through the ports of a proxy", async () => {
    const { nodes, haproxy } = cluster.servers;
    const url = `postgres://postgres@${nodes.map(({ host, port }) => `${host}:${port}`).join(",")}/postgres`;
    const proxy = {
      kind: "proxy",
      write: `127.0.0.1:${haproxy.writePort}`,
      read: `127.0.0.1:${haproxy.readPort}`,
    } as const;
    // The ports of the proxy the wrong way round: what leads to a replica is noticed, whatever its name is.
    const crossed = { ...proxy, write: proxy.read, read: proxy.write };
    const base = { url: "postgres://postgres@127.0.0.1/postgres" };
    for (const options of [{ url }, { ...base, discovery: proxy }, { ...base, discovery: crossed }]) {
      await using other = await cluster.open({
        discovery: { kind: "hosts" },
        mapAddress: undefined,
        ...options,
      });
      expect(await other.query(IN_RECOVERY, [])).toEqual([{ replica: false }]);
      await waitUntil("a replica", () =>
        other.status().nodes.some(({ role, takesReads }) => role === "replica" && takesReads),
      );
      expect(await other.read(IN_RECOVERY, [])).toEqual([{ replica: true }]);
      const session = other.session();
      await session.query("INSERT INTO pairs VALUES (88, 1)", []);
      expect((await session.read("SELECT 1 FROM pairs WHERE worker = 88", [])).length).toBeGreaterThan(0);
    }
  });

  it("opens by a list of hosts though one of them is silent", async () => {
    const { nodes } = cluster.servers;
    const leader = await cluster.servers.waitForLeader();
    const silent = nodes.find((node) => node !== leader) ?? leader;
    const url = `postgres://postgres@${nodes.map(({ host, port }) => `${host}:${port}`).join(",")}/postgres`;
    const mend = cluster.cutFromClients(silent);
    try {
      await using other = await cluster.open({ url, discovery: { kind: "hosts" }, probeTimeoutMs: 300 });
      expect(await other.query(IN_RECOVERY, [])).toEqual([{ replica: false }]);
      expect(other.status().primary).toBe(`${leader.host}:${leader.port}`);
    } finally {
      await mend();
    }
  });

  it("hands over without failing a transaction, back and forth, and tells its listeners what they may have missed", async () => {
    const heard: string[] = [];
    const interruptions: ListenInterruption[] = [];
    await using _listening = await database.listen(
      "news",
      (payload) => heard.push(payload),
      (what) => interruptions.push(what),
    );
    const first = database.status().primary;
    const writing = writeOn(database, "pairs");
    const reports = [];
    for (let round = 0; round < 2; round += 1) {
      await cluster.untilReady();
      await waitUntil("some writes", () => writing.count() > 50);
      reports.push(await database.switchover());
    }
    await writing.stop();
    expect(writing.failures).toEqual([]);
    expect(reports[0]).toMatchObject({ from: first, timeline: 2 });
    expect(reports[1]).toMatchObject({ from: reports[0]?.to, timeline: 3 });
    // Asked of its own Patroni: another one leaves it to the leader's next round, past the moment.
    for (const { from } of reports) {
      const leader = cluster.servers.nodes.find(({ name }) => name === from);
      expect(leader?.log).toContain(`received switchover request with leader=${from}`);
    }
    // Half a second on a quiet machine.
    const on = [await measuredOn(database)];
    for (const { pausedMs } of reports)
      expectFigure("a pause for a switchover", pausedMs, { unit: "ms", below: 2_000, on });

    await waitUntil("the listener to be back", () => interruptions.at(-1) === "listening");
    expect(interruptions[0]).toBe("lost");
    await database.query("SELECT pg_notify('news', 'after')", []);
    await waitUntil("the news", () => heard.includes("after"));

    const history = await database.history();
    expect(history.map(({ timeline }) => timeline)).toEqual([1, 2]);
    (history as unknown[]).pop();
    await using reopened = await cluster.open();
    expect((await reopened.history()).map(({ timeline }) => timeline)).toEqual([1, 2]);
  });

  it("tells a write that was cut off from clients only, reads on, and goes on when the way is mended", async () => {
    const leader = await cluster.servers.waitForLeader();
    await using cut = await cluster.open({ primaryWaitMs: 100, probeTimeoutMs: 300, pollEveryMs: 200 });
    await waitUntil("reads", () => cut.status().nodes.every(({ takesReads }) => takesReads));
    const mend = cluster.cutFromClients(leader);
    const write = cut.query("INSERT INTO pairs VALUES (66, 1)", [], { timeoutMs: 300 });
    await expect(write).rejects.toMatchObject({ code: "KERNEL_OUTCOME_UNKNOWN" });
    await waitUntil("its loss to be noticed", () => cut.status().condition.kind === "no-primary");
    await expect(cut.query("INSERT INTO pairs VALUES (66, 2)", [])).rejects.toMatchObject({
      code: "DATA_NO_PRIMARY",
    });
    expect(await cut.read(IN_RECOVERY, [])).toEqual([{ replica: true }]);
    await mend();
    await waitUntil("the primary again", () => cut.status().primary === leader.name);
    await cut.query("INSERT INTO pairs VALUES (66, 3)", []);
  });

  it("refuses a switchover to nobody, to the primary, to who confirms nothing, and a failover while all is well", async () => {
    await cluster.untilReady();
    const before = (await database.refresh()).primary;
    const refused = { code: "DATA_SWITCHOVER_REFUSED" };
    await expect(database.switchover({ candidate: "n9" })).rejects.toMatchObject({
      ...refused,
      message: /no node n9/,
    });
    await expect(database.switchover({ candidate: before })).rejects.toMatchObject({
      ...refused,
      message: /the primary already/,
    });
    await expect(database.failover()).rejects.toMatchObject({
      ...refused,
      message: /is the primary and well/,
    });
    const members = (await (
      await cluster.servers.waitForLeader()
    )
      .ask("/cluster")
      .then((answer) => answer.json())) as {
      members: { name: string; role: string }[];
    };
    const unconfirmed = members.members.find(({ role }) => role === "replica")?.name;
    await expect(database.switchover({ candidate: unconfirmed })).rejects.toMatchObject({
      ...refused,
      message: /does not confirm commits/,
    });
    const { nodes } = cluster.servers;
    const url = `postgres://postgres@${nodes.map(({ host, port }) => `${host}:${port}`).join(",")}/postgres`;
    await using plain = await cluster.open({ url, discovery: { kind: "hosts" }, mapAddress: undefined });
    await expect(plain.switchover()).rejects.toMatchObject({ ...refused, message: /it takes Patroni/ });
    expect((await database.refresh()).primary).toBe(before);
  });

  it("without a primary serves reads, fails writes soon and retryably, and recovers by itself; the old one is never written to", async () => {
    const leader = await cluster.untilReady();
    await waitUntil("its primary", () => database.status().primary === leader.name);
    await using hurried = await cluster.open({ primaryWaitMs: 100 });
    const changes: string[] = [];
    hurried.on("condition", ({ to }) => changes.push(to.kind));
    const failures: { code: string; retryable: boolean; afterMs: number }[] = [];
    let reads = 0;
    const use = async (): Promise<void> => {
      const startedAt = performance.now();
      await hurried.query("INSERT INTO pairs VALUES (99, 1)", []).catch((error) => {
        failures.push({
          code: error.code,
          retryable: error.retryable,
          afterMs: performance.now() - startedAt,
        });
      });
      const rows = await hurried.read("SELECT count(*) FROM pairs", []).catch(() => []);
      reads += rows.length;
    };
    // A successor leads only when it has replayed what it has; one with nothing to replay may be through in 200 ms,
    // between two looks at it.
    const goOn = await cluster.holdReplay();
    try {
      // Its PostgreSQL goes on alone, as a primary that takes writes, until its Patroni is back.
      await leader.killPatroni();
      await waitUntil(
        "writes to be refused",
        async () => {
          await use();
          return failures.some(({ code }) => code === "DATA_NO_PRIMARY");
        },
        { timeoutMs: 40_000, intervalMs: 10 },
      );
      expect(hurried.status()).toMatchObject({
        primary: undefined,
        condition: { kind: "no-primary", takesWrites: false, takesReads: true },
      });
      reads = 0;
      await use();
      expect(reads).toBeGreaterThan(0);
    } finally {
      goOn();
    }
    await waitUntil(
      "another primary",
      async () => {
        await use();
        const { primary } = hurried.status();
        return primary !== undefined && primary !== leader.name;
      },
      { timeoutMs: 40_000, intervalMs: 10 },
    );
    // One may have been under way when the old primary was cut off: its outcome is unknown, and that is what it says.
    const refused = failures.filter(({ code }) => code !== "KERNEL_OUTCOME_UNKNOWN");
    expect(failures.length - refused.length).toBeLessThanOrEqual(1);
    for (const { code, retryable, afterMs } of refused) {
      expect({ code, retryable }).toEqual({ code: "DATA_NO_PRIMARY", retryable: true });
      expect(afterMs).toBeLessThan(1_500);
    }
    expect(changes).toContain("no-primary");
    // Both servers take writes now; ours go to one only.
    expect(await leader.sql("SELECT pg_is_in_recovery()")).toBe("f");
    await waitUntil("the old one to be known as stale", () =>
      hurried.status().nodes.some(({ isStale }) => isStale),
    );
    for (let number = 0; number < 50; number += 1)
      await hurried.query("INSERT INTO pairs VALUES (100, $1)", [number]);
    // Nor do those of who comes now, and hears of the old one first.
    const { nodes } = cluster.servers;
    const hosts = [leader, ...nodes.filter((node) => node !== leader)].map(
      ({ host, port }) => `${host}:${port}`,
    );
    const url = `postgres://postgres@${hosts.join(",")}/postgres`;
    for (let number = 50; number < 60; number += 1) {
      await using late = await cluster.open({ url, discovery: { kind: "hosts" }, mapAddress: undefined });
      await late.query("INSERT INTO pairs VALUES (100, $1)", [number]);
    }
    expect(await leader.sql("SELECT count(*) FROM pairs WHERE worker = 100")).toBe("0");
    expect(await hurried.query("SELECT count(*)::int FROM pairs WHERE worker = 100", [])).toEqual([
      { count: 60 },
    ]);
    await leader.start();
    await cluster.untilReady();
    await waitUntil("everything to be well", () => hurried.status().condition.kind === "healthy");
  }, 90_000);

  it("does not count on what no replica has confirmed, nor lets it make a failover look like a loss", async () => {
    const leader = await cluster.untilReady();
    const { nodes } = cluster.servers;
    const answer = (await (await leader.ask("/cluster")).json()) as {
      members: { name: string; role: string }[];
    };
    const { name } = answer.members.find(({ role }) => role === "sync_standby") ?? {};
    const confirming = nodes.find((node) => node.name === name);
    if (confirming === undefined) throw new Error("no replica confirms commits");
    const url = `postgres://postgres@${nodes.map(({ host, port }) => `${host}:${port}`).join(",")}/postgres`;
    const open = (): Promise<ClusterDatabase> =>
      cluster.open({ url, discovery: { kind: "hosts" }, mapAddress: undefined, max: 1 });
    const durableOf = (session: ClusterSession): bigint => parseLsn(session.token()?.split(":")[3] ?? "");
    await using plain = await open();
    const session = plain.session();
    await session.query("INSERT INTO pairs VALUES (77, 1)", []);
    const confirmed = durableOf(session);
    // Nobody fails over or changes who confirms: the leader's Patroni is gone, and so is the only one who may follow it.
    await leader.killPatroni();
    await confirming.kill();
    const waiting = leader.sql("INSERT INTO pairs VALUES (78, 1)");
    await waitUntil("a commit to wait", async () => {
      const count = await leader.sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'");
      return count === "1";
    });
    const read = "SELECT 1 FROM pairs WHERE worker = 78";
    expect(await session.read(read, [], { from: "primary" })).toEqual([]);
    const flushed = parseLsn(await leader.sql("SELECT pg_current_wal_flush_lsn()"));
    expect(durableOf(session)).toBeGreaterThanOrEqual(confirmed);
    expect(durableOf(session)).toBeLessThan(flushed);
    // One that came later cannot know whether all that it sees was confirmed: the server might have started anew.
    await using late = await open();
    const stranger = late.session();
    await stranger.read(read, [], { from: "primary" });
    expect(durableOf(stranger)).toBeGreaterThanOrEqual(flushed);
    await confirming.start();
    await leader.start();
    await waiting;
    await cluster.untilReady();
  }, 90_000);

  it("loses no acknowledged write, keeps no refused one, lets no session see time run back, and goes on writing, whatever happens to the leader", async () => {
    const ledger = new Ledger(database, seededRandom(1));
    await ledger.start(6);
    for (const fault of SHORT) {
      const { outageMs, from, to } = await failOver(cluster, database, ledger, fault);
      expect(to, fault).not.toBe(from);
      expectFigure(`an outage by ${fault}`, outageMs, {
        unit: "ms",
        below: OUTAGE_MAX_MS,
        on: [await measuredOn(database)],
      });
    }
    const counts = await ledger.finish();
    expect(ledger.violations).toEqual([]);
    expect(counts.acknowledged).toBeGreaterThan(100);
    expect(counts.reads).toBeGreaterThan(50);
  }, 120_000);

  it("without synchronous replication reports what a failover lost, with positions, to the session that saw it", async () => {
    const leader = await cluster.untilReady();
    await waitUntil("its primary", () => database.status().primary === leader.name);
    await cluster.servers.configure({ synchronous_mode: false });
    const isAsynchronous = async (): Promise<boolean> =>
      (await leader.sql("SHOW synchronous_standby_names")) === "";
    await waitUntil("commits to wait for nobody", isAsynchronous);
    const changes: PrimaryChange[] = [];
    database.on("primary", (change) => changes.push(change));
    await cluster.holdSending(leader);
    await using patient = await cluster.open({ primaryWaitMs: 60_000 });
    const session = database.session();
    await session.query("INSERT INTO pairs VALUES (55, 1)", []);
    const { position } = session;
    // The place of the loss is told by what was seen of the old primary's log.
    await database.refresh();
    const undo = await cluster.inflict("kill -9 of PostgreSQL and Patroni", leader);
    // Who waits is let in on a connection that was there before the new primary was: it told of its promotion.
    const first = patient.query(
      `SELECT application_name, backend_start < (pg_stat_file('pg_wal/' ||
         substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) || '.history')).modification AS "wasThereBefore"
       FROM pg_stat_activity WHERE pid = pg_backend_pid()`,
      [],
      { repeatable: true },
    );
    const change = await waitUntil("the next primary", () => changes.find(({ to }) => to !== undefined), {
      timeoutMs: 30_000,
    });
    expect(await first).toEqual([{ application_name: "holdfast", wasThereBefore: true }]);
    expect(change.leftBehindBytes).toBeGreaterThan(0n);
    expect(change.forkLsn).toBeLessThan(position?.lsn ?? 0n);
    await expect(session.read("SELECT 1", [])).rejects.toMatchObject({
      code: "DATA_POSITION_LOST",
      retryable: false,
    });
    expect(await database.session().read("SELECT 1 FROM pairs WHERE worker = 55", [])).toEqual([]);
    await undo();
  });
});
