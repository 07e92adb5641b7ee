import { type Random, randomInt, seededRandom, systemClock } from "@holdfast/kernel";
import { retryPresets } from "@holdfast/resilience";
import { echo, startTestCluster, type TestCluster, type TestServer, write } from "@holdfast/testkit/servers";
import { ConnectionManager, type ManagerStats, tcpTransport } from "../../src/index.ts";
import { connected } from "../connected.ts";
import { FAULTS, type FaultName } from "./faults.ts";
import { LoadRecord, type LoadStats } from "./load-record.ts";
import { openLoad } from "./open-load.ts";

export interface ClusterSoakOptions {
  readonly seed: number;
  /** Each fault on one node, then each on two, is one lap. */
  readonly lapCount: number;
  /** How long a fault lasts, milliseconds. */
  readonly faultMs: number;
  /** Requests a second; they begin at their time, however slow the answers are. */
  readonly rate: number;
  /** A request must have its answer by then, milliseconds. */
  readonly deadlineMs: number;
}

/** What one fault did to the requests that began while it lasted. */
export interface FaultReport extends LoadStats {
  readonly fault: FaultName;
  readonly nodeCount: number;
  /** From the healing until every node that had the fault was sent a request again. */
  readonly returnMs: number;
}

export interface ClusterSoakReport {
  readonly seed: number;
  readonly seconds: number;
  readonly deadlineMs: number;
  /** Reads over the whole run, the times between the faults included. */
  readonly reads: LoadStats;
  /** Writes that must not be repeated: their fate may be unknown, but none may have been carried out twice. */
  readonly writes: LoadStats & { readonly doubledCount: number };
  readonly faults: readonly FaultReport[];
  readonly retryCount: number;
  /** Why requests were not tried again, those that were carried out at last not among them. */
  readonly gaveUpCounts: ManagerStats["retries"]["gaveUpCounts"];
  readonly ejectedCount: number;
  readonly connections: ManagerStats["connections"];
}

/** A node counts as not coming back when it gets no request for this long after its healing. */
const RETURN_MAX_MS = 10_000;
const WRITE_EVERY_COUNT = 10;

/**
 * A constant load on three nodes on real sockets while one of them, then two, are killed, frozen, cut off, left half
 * open, reset and slowed, again and again. What the client promises is for the caller to check in the report.
 */
export const soakCluster = async (options: ClusterSoakOptions): Promise<ClusterSoakReport> => {
  await using cluster = await startTestCluster({ nodeCount: 3 });
  await using client = new ConnectionManager({
    clock: systemClock,
    random: seededRandom(options.seed),
    transport: tcpTransport(),
    identity: { nodeId: "", role: "client" },
    hosts: cluster.addresses,
    connectTimeoutMs: 300,
    requestTimeoutMs: 300,
    heartbeatMs: 200,
    probeEveryMs: 100,
    health: { ejectionMs: 500, ejectionCapMs: 1_000 },
    retry: retryPresets.aggressive,
  });
  await connected(client);
  const soak = new ClusterSoak(cluster, client, options);
  // Awaited here: cluster and client end with this function.
  return await soak.run();
};

class ClusterSoak {
  readonly #cluster: TestCluster;
  readonly #client: ConnectionManager;
  readonly #options: ClusterSoakOptions;
  readonly #random: Random;
  readonly #reads: LoadRecord;
  readonly #writes: LoadRecord;
  /** Of the fault that lasts now. */
  #during: LoadRecord | undefined;

  constructor(cluster: TestCluster, client: ConnectionManager, options: ClusterSoakOptions) {
    this.#cluster = cluster;
    this.#client = client;
    this.#options = options;
    this.#random = seededRandom(options.seed);
    this.#reads = new LoadRecord(options.deadlineMs);
    this.#writes = new LoadRecord(options.deadlineMs);
  }

  async run(): Promise<ClusterSoakReport> {
    const { deadlineMs, lapCount, seed } = this.#options;
    const startedAt = systemClock.monotonicNow();
    const stop = new AbortController();
    const load = openLoad(this.#options.rate, (number, dueAt) => this.#ask(number, dueAt), stop.signal);
    const faults: FaultReport[] = [];
    try {
      for (let lap = 0; lap < lapCount; lap += 1) {
        for (const nodeCount of [1, 2])
          for (const fault of Object.keys(FAULTS) as FaultName[])
            faults.push(await this.#suffer(fault, nodeCount));
      }
    } finally {
      stop.abort();
      await load;
    }
    const { connections, ejectedCount, retries } = this.#client.stats;
    return {
      seed,
      seconds: Math.round((systemClock.monotonicNow() - startedAt) / 100) / 10,
      deadlineMs,
      reads: this.#reads.stats,
      writes: { ...this.#writes.stats, doubledCount: this.#doubledCount() },
      faults,
      retryCount: retries.retryCount,
      gaveUpCounts: retries.gaveUpCounts,
      ejectedCount,
      connections,
    };
  }

  async #ask(number: number, dueAt: number): Promise<void> {
    const isWrite = number % WRITE_EVERY_COUNT === 0;
    const records = isWrite ? [this.#writes] : [this.#reads, ...(this.#during ? [this.#during] : [])];
    for (const record of records) record.asked();
    const value = `${this.#options.seed}/${number}`;
    let error: unknown;
    let isOwn = true;
    try {
      const { deadlineMs } = this.#options;
      if (isWrite) await this.#client.request(write, { value }, { deadlineMs });
      else isOwn = (await this.#client.request(echo, { value }, { deadlineMs })).value === value;
    } catch (thrown) {
      error = thrown;
    }
    const elapsedMs = systemClock.monotonicNow() - dueAt;
    for (const record of records) record.ended(elapsedMs, isOwn ? error : new Error("another's answer"));
  }

  async #suffer(fault: FaultName, nodeCount: number): Promise<FaultReport> {
    const nodes = this.#choose(nodeCount);
    const during = new LoadRecord(this.#options.deadlineMs);
    this.#during = during;
    for (const node of nodes) await FAULTS[fault].begin(node);
    await systemClock.sleep(this.#options.faultMs);
    for (const node of nodes) await FAULTS[fault].end(node);
    this.#during = undefined;
    const returnMs = await this.#return(nodes);
    // Those that began during the fault have their end by now, or never will.
    while (during.isIncomplete && during.ageMs < this.#options.faultMs + 2 * this.#options.deadlineMs)
      await systemClock.sleep(10);
    return { fault, nodeCount, ...during.stats, returnMs };
  }

  async #return(nodes: readonly TestServer[]): Promise<number> {
    const healedAt = systemClock.monotonicNow();
    const before = nodes.map(({ counts }) => counts.requests);
    for (;;) {
      const elapsedMs = systemClock.monotonicNow() - healedAt;
      const isBack = nodes.every(({ counts }, index) => counts.requests > (before[index] ?? 0));
      if (isBack) return Math.round(elapsedMs);
      if (elapsedMs > RETURN_MAX_MS) return Number.POSITIVE_INFINITY;
      await systemClock.sleep(10);
    }
  }

  #choose(count: number): readonly TestServer[] {
    const left = [...this.#cluster.nodes];
    return Array.from(
      { length: count },
      () => left.splice(randomInt(this.#random, left.length), 1)[0],
    ).filter((node) => node !== undefined);
  }

  /** Writes that reached a handler more than once, on whatever node. */
  #doubledCount(): number {
    const arrivals = new Map<unknown, number>();
    for (const { requests } of this.#cluster.nodes) {
      for (const { input, name } of requests) {
        if (name !== write.name) continue;
        const { value } = input as { readonly value: unknown };
        arrivals.set(value, (arrivals.get(value) ?? 0) + 1);
      }
    }
    return [...arrivals.values()].filter((count) => count > 1).length;
  }
}
