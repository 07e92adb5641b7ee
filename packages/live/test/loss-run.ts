import { fileURLToPath } from "node:url";
import { type Random, randomInt, seededRandom } from "@holdfast/kernel";
import {
  ConditionTimeoutError,
  type ManagedProcess,
  type PortReservation,
  type RedisSentinels,
  redisCommand,
  reservePort,
  startProcess,
  startRedisSentinel,
  waitUntil,
} from "@holdfast/testkit";
import { WebSocket } from "ws";
import { BroadcastClient } from "../src/client/index.ts";

export interface LossOptions {
  readonly seed: number;
  readonly seconds: number;
  readonly clientCount: number;
  readonly channelCount: number;
  readonly serverCount: number;
  /** Told of each fault once it is over, with the seconds since the start. */
  readonly onFault?: (outcome: string, atSeconds: number) => void;
}

export interface LossReport {
  readonly seed: number;
  readonly clients: number;
  readonly channels: number;
  readonly servers: number;
  /** Events whose publishing was answered, and those of which nobody knows. */
  readonly published: number;
  readonly unknown: number;
  readonly deliveries: number;
  readonly recovered: number;
  readonly gaps: Readonly<Record<string, number>>;
  readonly faults: Readonly<Record<string, number>>;
  /** How often a last event was published until everybody had it. */
  readonly settleRounds: number;
  /** Pieces that are missing before a gap that was announced late. */
  readonly lateGapCount: number;
  /** What a client should have had, or had twice, without having been told. */
  readonly violations: readonly object[];
}

const CHANNELS_PER_CLIENT = 5;
/** One publisher for each channel, so that what it was answered is the order of the channel. */
const PUBLISH_EVERY_MS = 200;
const FAULT_EVERY_MS = 1_500;
/** How long all may take to work again after the last fault: sentinels try again after twice their 5 s. */
const SETTLE_MS = 90_000;
const SETTLE_MAX_ROUNDS = 4;
const program = fileURLToPath(new URL("./processes/live-server.ts", import.meta.url));

/** Milliseconds of real time. */
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** What the publisher of a channel knows. */
class Publisher {
  readonly channel: string;
  /** Numbers that the server answered for. */
  readonly published = new Set<number>();
  unknownCount = 0;
  last = 0;

  constructor(channel: string) {
    this.channel = channel;
  }

  async publish(url: string): Promise<boolean> {
    this.last += 1;
    const n = this.last;
    try {
      const response = await fetch(`${url}/test/broadcast`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ channel: this.channel, event: "e", payload: { n } }),
        signal: AbortSignal.timeout(5_000),
      });
      await response.arrayBuffer();
      if (response.ok) this.published.add(n);
      else this.unknownCount += 1;
      return response.ok;
    } catch {
      this.unknownCount += 1;
      return false;
    }
  }
}

/** What one client was told of one channel, in order: numbers, and `gap` where something may be missing. */
type Story = (number | "gap")[];

/**
 * What is wrong with a story. `last` is the number that everybody must have. `isLate`: the gap that makes up for it came
 * after the next number, as it does when a master that was replaced took that one.
 */
export const problemsOf = (
  story: Story,
  published: ReadonlySet<number>,
  last: number,
): readonly { readonly problem: string; readonly isLate: boolean }[] => {
  const problems: { readonly problem: string; readonly isLate: boolean }[] = [];
  const had = new Set<number>();
  for (const item of story) {
    if (item === "gap") continue;
    if (had.has(item)) problems.push({ problem: `${item} came twice`, isLate: false });
    had.add(item);
  }
  const lastGap = story.lastIndexOf("gap");
  let before: number | undefined = 0;
  for (const [index, item] of story.entries()) {
    if (item === "gap") {
      before = undefined;
      continue;
    }
    for (let n = (before ?? item) + 1; n < item; n += 1)
      if (published.has(n) && !had.has(n))
        problems.push({ problem: `${n} is missing before ${item}`, isLate: index < lastGap });
    // What nobody was answered for may be appended late, out of its number's order.
    before = Math.max(before ?? 0, item);
  }
  if (!had.has(last)) problems.push({ problem: `${last}, the last one, is missing`, isLate: false });
  return problems;
};

class Cell implements AsyncDisposable {
  readonly redis: RedisSentinels;
  readonly #ports: readonly PortReservation[];
  readonly #servers: (ManagedProcess | undefined)[];

  private constructor(redis: RedisSentinels, ports: readonly PortReservation[]) {
    this.redis = redis;
    this.#ports = ports;
    this.#servers = ports.map(() => undefined);
  }

  static async start(serverCount: number): Promise<Cell> {
    const redis = await startRedisSentinel({
      // Without a replica no write is taken: a master that was replaced must not go on acknowledging events.
      settings: { appendonly: "yes", appendfsync: "everysec", "min-replicas-to-write": 1 },
    });
    const ports = await Promise.all(Array.from({ length: serverCount }, () => reservePort()));
    const cell = new Cell(redis, ports);
    await Promise.all(ports.map((_, index) => cell.startServer(index)));
    return cell;
  }

  get serverCount(): number {
    return this.#ports.length;
  }

  async startServer(index: number): Promise<void> {
    const config = {
      port: this.#ports[index]?.port,
      masterName: this.redis.masterName,
      sentinelUrls: this.redis.sentinels.map(({ host, port }) => `redis://${host}:${port}`),
    };
    const args = ["--import", "tsx", "--conditions", "holdfast-source", program, JSON.stringify(config)];
    const server = await startProcess(process.execPath, args, { name: `live server ${index}` });
    this.#servers[index] = server;
    await server.waitForLine(/^ready$/, { timeoutMs: 180_000 });
  }

  async killServer(index: number): Promise<void> {
    const server = this.#servers[index];
    this.#servers[index] = undefined;
    await server?.kill("SIGKILL");
  }

  /** What the servers and Redis say of themselves. */
  async describe(): Promise<object> {
    const ask = (question: Promise<unknown>): Promise<unknown> =>
      question.catch((error: unknown) => String(error));
    const health = async (port: number): Promise<unknown> => {
      const response = await fetch(`http://127.0.0.1:${port}/health`, { signal: AbortSignal.timeout(5_000) });
      return response.json();
    };
    return {
      servers: await Promise.all(this.#ports.map(({ port }) => ask(health(port)))),
      masters: await Promise.all(
        this.redis.sentinels.map(({ port }) =>
          ask(redisCommand(port, ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", this.redis.masterName])),
        ),
      ),
      redis: await Promise.all(
        this.redis.servers.map(async (server) => ({
          port: server.port,
          replication: await ask(server.command("INFO", "replication")),
        })),
      ),
    };
  }

  /** The address of one that should be running. */
  url(random: Random): string {
    const running = this.#ports.filter((_, index) => this.#servers[index] !== undefined);
    const list = running.length === 0 ? this.#ports : running;
    return `http://127.0.0.1:${list[randomInt(random, list.length)]?.port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#servers.map((server) => server?.kill("SIGKILL")));
    for (const port of this.#ports) port[Symbol.dispose]();
    await this.redis[Symbol.asyncDispose]();
  }
}

class Clients implements Disposable {
  readonly all: { readonly client: BroadcastClient; readonly stories: Map<string, Story> }[] = [];
  readonly #sockets = new Set<WebSocket>();
  deliveries = 0;
  recovered = 0;
  readonly gaps: Record<string, number> = {};

  async open(cell: Cell, options: LossOptions, random: Random): Promise<void> {
    for (let index = 0; index < options.clientCount; index += 1) {
      const client = new BroadcastClient("ws://any", {
        platform: {
          openSocket: () => {
            const socket = new WebSocket(`${cell.url(random).replace("http", "ws")}/ws/broadcast`);
            this.#sockets.add(socket);
            socket.on("close", () => this.#sockets.delete(socket));
            return socket as never;
          },
        },
        tabs: false,
        reconnectDelay: 100,
        reconnectDelayMax: 1_000,
        connectTimeout: 5_000,
      });
      const stories = new Map<string, Story>();
      while (stories.size < Math.min(CHANNELS_PER_CLIENT, options.channelCount)) {
        const channel = `c${randomInt(random, options.channelCount)}`;
        if (stories.has(channel)) continue;
        const story: Story = [];
        stories.set(channel, story);
        client.subscribe(channel, ({ payload, via }) => {
          this.deliveries += 1;
          if (via === "recovery") this.recovered += 1;
          story.push(payload["n"] as number);
        });
      }
      client.onGap(({ channel, reason }) => {
        this.gaps[reason] = (this.gaps[reason] ?? 0) + 1;
        stories.get(channel)?.push("gap");
      });
      client.connect();
      this.all.push({ client, stories });
    }
    for (const { client, stories } of this.all) for (const name of stories.keys()) await client.ready(name);
  }

  /** Breaks about this share of the connections. */
  cut(share: number, random: Random): void {
    for (const socket of this.#sockets) if (random.next() < share) socket.terminate();
  }

  [Symbol.dispose](): void {
    for (const { client } of this.all) client.disconnect();
    for (const socket of this.#sockets) socket.terminate();
  }
}

type Fault = (cell: Cell, clients: Clients, random: Random) => Promise<void>;

const FAULTS: Readonly<Record<string, Fault>> = {
  "cut of a tenth": async (_cell, clients, random) => clients.cut(0.1, random),
  "cut of all": async (_cell, clients, random) => clients.cut(1, random),
  "server killed": async (cell, _clients, random) => {
    const index = randomInt(random, cell.serverCount);
    await cell.killServer(index);
    await cell.startServer(index);
  },
  "redis restarted": async (cell) => {
    const master = await cell.redis.master();
    await master.kill();
    await master.start();
  },
  "redis failed over": async (cell) => {
    const before = await cell.redis.master();
    // Sentinels promote nobody who does not follow.
    await waitUntil(
      "a replica in sync",
      async () => /slave\d+:.*state=online/.test(String(await before.command("INFO", "replication"))),
      { timeoutMs: 30_000 },
    );
    await before.kill();
    try {
      await waitUntil("another master", async () => (await cell.redis.master()) !== before, {
        timeoutMs: 60_000,
      });
    } finally {
      await before.start();
    }
  },
};

/** Publishes and breaks things for a while, then lets all settle and looks for what anybody silently missed. */
export const runWithLosses = async (options: LossOptions): Promise<LossReport> => {
  const random = seededRandom(options.seed);
  await using cell = await Cell.start(options.serverCount);
  using clients = new Clients();
  await clients.open(cell, options, random);
  const publishers = Array.from({ length: options.channelCount }, (_, index) => new Publisher(`c${index}`));
  const startedAt = performance.now();
  const endAt = startedAt + options.seconds * 1_000;
  const faults: Record<string, number> = {};
  let isOver = false;
  const publish = async (publisher: Publisher): Promise<void> => {
    while (!isOver) {
      await publisher.publish(cell.url(random));
      await pause(random.next() * 2 * PUBLISH_EVERY_MS);
    }
  };
  const harm = async (): Promise<void> => {
    const names = Object.keys(FAULTS);
    // Each kind at least once, however long that takes.
    for (let count = 0; count < names.length || performance.now() < endAt; count += 1) {
      await pause(random.next() * 2 * FAULT_EVERY_MS);
      const name = names[count < names.length ? count : randomInt(random, names.length)] as string;
      let outcome = name;
      try {
        await FAULTS[name]?.(cell, clients, random);
      } catch (error) {
        // A machine too busy for the sentinels is no loss.
        if (!(error instanceof ConditionTimeoutError)) throw error;
        outcome = `${name}, not in time`;
      }
      faults[outcome] = (faults[outcome] ?? 0) + 1;
      options.onFault?.(outcome, Math.round((performance.now() - startedAt) / 1_000));
    }
    isOver = true;
  };
  await Promise.all([...publishers.map(publish), harm()]);
  // All is well again: one last event on each channel, which everybody must have. Where Redis fails over once more, as a
  // busy machine makes it, the last event may be forgotten, which is a gap: so there is another.
  const isComplete = (): boolean =>
    clients.all.every(({ stories }) =>
      publishers.every(({ channel, last }) => stories.get(channel)?.includes(last) ?? true),
    );
  let settleRounds = 0;
  while (settleRounds < SETTLE_MAX_ROUNDS && !isComplete()) {
    settleRounds += 1;
    for (const publisher of publishers) {
      try {
        await waitUntil(`the last event of ${publisher.channel}`, () => publisher.publish(cell.url(random)), {
          timeoutMs: SETTLE_MS,
          intervalMs: 100,
        });
      } catch (cause) {
        const state = JSON.stringify(await cell.describe());
        throw new Error(`nothing can be published any more: ${state}`, { cause });
      }
    }
    // Whoever does not get it is found below.
    await waitUntil("everybody to have the last events", isComplete, {
      timeoutMs: SETTLE_MS / SETTLE_MAX_ROUNDS,
    }).catch(() => undefined);
  }
  const problems = clients.all.flatMap(({ stories, client }, index) =>
    publishers.flatMap(({ channel, published, last }) =>
      (stories.has(channel) ? problemsOf(stories.get(channel) ?? [], published, last) : []).map(
        (problem) => ({
          client: index,
          state: client.state,
          detail: client.detail,
          channel,
          ...problem,
        }),
      ),
    ),
  );
  const violations = problems.filter(({ isLate }) => !isLate);
  if (violations.length > 0) options.onFault?.(JSON.stringify(await cell.describe()), options.seconds);
  return {
    seed: options.seed,
    clients: options.clientCount,
    channels: options.channelCount,
    servers: options.serverCount,
    published: publishers.reduce((sum, { published }) => sum + published.size, 0),
    unknown: publishers.reduce((sum, { unknownCount }) => sum + unknownCount, 0),
    deliveries: clients.deliveries,
    recovered: clients.recovered,
    gaps: clients.gaps,
    faults,
    settleRounds,
    lateGapCount: problems.length - violations.length,
    violations,
  };
};
