import { openCluster } from "@holdfast/data";
import { type PatroniCluster, startPatroniCluster, waitUntil } from "@holdfast/testkit";
import pg from "pg";
import type { Bench } from "./measure/bench-result.ts";
import { median } from "./measure/median.ts";

const PG = "pg@8.23.1 Pool through HAProxy";
/** Seconds that the leader's key lives. */
const TTL = 5;
const FAILOVERS = 5;
const WRITERS = 4;
/** Between two tries of a writer, failed or not. */
const PAUSE_MS = 5;

type Write = (number: number) => Promise<unknown>;

/** Writers that never give up, and when their writes were acknowledged. */
class Writers {
  readonly acknowledgedAt: number[] = [];
  readonly #stop = new AbortController();
  readonly #done: Promise<unknown>;

  constructor(write: Write) {
    this.#done = Promise.all(Array.from({ length: WRITERS }, () => this.#run(write)));
  }

  /** The longest stretch without an acknowledged write that ended after `since`. */
  outageMs(since: number): number {
    let longest = 0;
    for (let index = 1; index < this.acknowledgedAt.length; index += 1) {
      const at = this.acknowledgedAt[index] as number;
      if (at > since) longest = Math.max(longest, at - (this.acknowledgedAt[index - 1] as number));
    }
    return longest;
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#done;
  }

  async #run(write: Write): Promise<void> {
    for (let number = 0; !this.#stop.signal.aborted; number += 1) {
      try {
        await write(number);
        this.acknowledgedAt.push(performance.now());
      } catch {
        // The next try tells when it works again.
      }
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }
}

const untilConfirmed = async (cluster: PatroniCluster): Promise<void> => {
  await cluster.waitUntilHealthy();
  await waitUntil("a replica that confirms commits", async () => {
    const answer = await (await cluster.waitForLeader()).ask("/cluster");
    return (await answer.text()).includes("sync_standby");
  });
};

const bench: Bench = {
  name: "failover",
  description: "For how many lifetimes of the leader's key can nobody write when the leader dies?",
  run: async () => {
    await using cluster = await startPatroniCluster({ synchronous: true, ttl: TTL });
    const database = await openCluster({
      url: "postgres://postgres@127.0.0.1/postgres",
      discovery: {
        kind: "patroni",
        urls: cluster.nodes.map(({ host, restPort }) => `http://${host}:${restPort}`),
      },
      max: WRITERS,
    });
    // Timeouts as short as they can be without giving up on a healthy server.
    const pool = new pg.Pool({
      connectionString: cluster.writeUrl,
      max: WRITERS,
      connectionTimeoutMillis: 1_000,
      query_timeout: 2_000,
    });
    pool.on("error", () => undefined);
    await database.query("CREATE TABLE writes (at timestamptz NOT NULL)", []);
    const text = "INSERT INTO writes VALUES (now())";
    const ours = new Writers(() => database.query(text, []));
    const theirs = new Writers(() => pool.query(text));
    const outages: { readonly ours: number[]; readonly theirs: number[] } = { ours: [], theirs: [] };
    try {
      for (let round = 0; round < FAILOVERS; round += 1) {
        await untilConfirmed(cluster);
        const leader = await cluster.waitForLeader();
        const since = performance.now();
        await leader.kill();
        await cluster.waitForLeader({ not: leader });
        await waitUntil(
          "both to write again",
          () => [ours, theirs].every(({ acknowledgedAt }) => (acknowledgedAt.at(-1) ?? 0) > since + 2_000),
          { timeoutMs: 60_000 },
        );
        outages.ours.push(ours.outageMs(since));
        outages.theirs.push(theirs.outageMs(since));
        await leader.start();
      }
    } finally {
      await Promise.all([ours.stop(), theirs.stop()]);
      await Promise.all([database.close({ graceMs: 0 }), pool.end()]);
    }
    const lifetimes = (values: readonly number[]): number =>
      Number((median(values) / (TTL * 1_000)).toFixed(3));
    const show = (values: readonly number[]): string =>
      values.map((value) => `${(value / 1_000).toFixed(2)} s`).join(", ");
    return {
      unit: `lifetimes of the leader's key (${TTL} s) without an acknowledged write, median of ${FAILOVERS}`,
      ours: lifetimes(outages.ours),
      peers: { [PG]: lifetimes(outages.theirs) },
      higherIsBetter: false,
      notes:
        `Three nodes under Patroni 3 with synchronous replication; the leader's PostgreSQL and Patroni are killed with -9 while both sides write over ${WRITERS} connections, in the same failovers. Ours ${show(outages.ours)}; pg ${show(outages.theirs)}. ` +
        "Most of it is the key's own life and Patroni's promotion, which nobody can shorten from outside. HAProxy checks every 0.5 s, a server that goes down every 0.2 s. " +
        "The bare pool tells a write that is refused from one of unknown outcome only by its error's text, knows no timeline, and would go on with an old primary that the proxy still leads to.",
    };
  },
};

export default bench;
