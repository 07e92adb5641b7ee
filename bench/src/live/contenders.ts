import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { BARE, type Dialect, LoadSockets, OURS, SOCKET_IO } from "./load-sockets.ts";

export type Kind = "ours" | "ws" | "socket.io" | "bare";

const DIALECTS: Readonly<Record<Kind, Dialect>> = {
  ours: OURS,
  ws: BARE,
  "socket.io": SOCKET_IO,
  bare: BARE,
};
const program = fileURLToPath(new URL("contender.mjs", import.meta.url));

/** The servers of one contender, each in a process of its own, with their clients in this one. */
export class Contender {
  readonly kind: Kind;
  readonly children: readonly ChildProcess[];
  readonly ports: readonly number[];
  readonly loads: readonly LoadSockets[];
  #last = 0;

  private constructor(
    kind: Kind,
    children: readonly ChildProcess[],
    ports: readonly number[],
    loads: readonly LoadSockets[],
  ) {
    this.kind = kind;
    this.children = children;
    this.ports = ports;
    this.loads = loads;
  }

  static async start(
    kind: Kind,
    options: {
      readonly clientCount: number;
      /** Servers that share the Redis at this address. Default: one without. */
      readonly redis?: { readonly url: string; readonly serverCount: number };
      readonly execArgv?: readonly string[];
      readonly env?: Readonly<Record<string, string>>;
    },
  ): Promise<Contender> {
    const { redis, clientCount, execArgv = [], env = {} } = options;
    const serverCount = redis?.serverCount ?? 1;
    const args = redis === undefined ? [kind] : [kind, redis.url];
    const children = Array.from({ length: serverCount }, () =>
      fork(program, args, {
        execArgv: [...execArgv],
        env: { ...process.env, ...env },
        stdio: ["ignore", "inherit", "inherit", "ipc"],
      }),
    );
    const ports = await Promise.all(
      children.map(async (child) => ((await once(child, "message")) as [{ port: number }])[0].port),
    );
    const loads: LoadSockets[] = [];
    for (const port of ports) {
      const count = clientCount / serverCount;
      loads.push(await LoadSockets.open({ port, count, dialect: DIALECTS[kind] }));
    }
    return new Contender(kind, children, ports, loads);
  }

  /** Of its servers. */
  get pids(): readonly number[] {
    return this.children.flatMap(({ pid }) => pid ?? []);
  }

  /** Publishes so many events, a few ahead of what has been delivered to everybody, and waits for all of them. */
  async run(count: number, ahead: number): Promise<void> {
    const before = this.loads.map(({ eventCount }) => eventCount);
    const delivered = async (events: number): Promise<void> => {
      await Promise.all(
        this.loads.map((load, index) => load.until((before[index] ?? 0) + events * load.sockets.length)),
      );
    };
    for (let sent = 0; sent < count; sent += 1) {
      if (sent >= ahead) await delivered(sent - ahead + 1);
      this.publish();
    }
    await delivered(count);
  }

  /** Publishes one event, in turn on each server. */
  publish(): void {
    this.#last += 1;
    this.children[this.#last % this.children.length]?.send({ publish: [this.#last] });
  }

  /** Publishes so many at once on the first server. */
  publishMany(count: number): void {
    const publish = Array.from({ length: count }, (_, index) => this.#last + index + 1);
    this.#last += count;
    this.children[0]?.send({ publish });
  }

  /** Milliseconds from publishing to arrival, for events at an even pace. */
  async latencies(options: {
    readonly perSecond: number;
    readonly seconds: number;
  }): Promise<readonly number[]> {
    for (const load of this.loads) load.latencies = [];
    const startedAt = performance.now();
    const count = options.perSecond * options.seconds;
    const before = this.loads.map(({ eventCount }) => eventCount);
    for (let sent = 0; sent < count; sent += 1) {
      const dueMs = startedAt + (sent * 1_000) / options.perSecond - performance.now();
      if (dueMs > 0) await new Promise((resolve) => setTimeout(resolve, dueMs));
      this.publish();
    }
    await Promise.all(
      this.loads.map((load, index) => load.until((before[index] ?? 0) + count * load.sockets.length)),
    );
    return this.loads.flatMap(({ latencies }) => latencies);
  }

  /** Milliseconds of processor time that the first server has taken. */
  async cpuMs(): Promise<number> {
    const { user, system } = await this.ask<NodeJS.CpuUsage>("cpu");
    return (user + system) / 1_000;
  }

  async ask<T>(question: "stats" | "memory" | "cpu"): Promise<T> {
    const [child] = this.children;
    if (child === undefined) throw new Error("no server");
    child.send({ [question]: true });
    const [answer] = (await once(child, "message")) as [Record<string, T>];
    return answer[question] as T;
  }

  close(): void {
    for (const load of this.loads) load.close();
    for (const child of this.children) child.disconnect();
  }
}

/** The value below which this share of the samples lies. */
export const quantile = (samples: readonly number[], share: number): number => {
  const sorted = [...samples].sort((a, b) => a - b);
  return Number(
    (sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN).toFixed(1),
  );
};

/** The p99 of each contender at an even pace, in rounds by turns: the median over the rounds, so that one hiccup of the machine decides nothing. */
export const pacedP99 = async (
  contenders: readonly Contender[],
  pace: { readonly perSecond: number; readonly seconds: number; readonly rounds: number },
): Promise<Readonly<Record<string, number>>> => {
  const seen = new Map<Kind, number[]>(contenders.map(({ kind }) => [kind, []]));
  for (let round = 0; round < pace.rounds; round += 1)
    for (const contender of contenders)
      seen.get(contender.kind)?.push(quantile(await contender.latencies(pace), 0.99));
  return Object.fromEntries([...seen].map(([kind, rounds]) => [kind, quantile(rounds, 0.5)]));
};
