import { setTimeout as pause } from "node:timers/promises";
import { createFaultProxy, type FaultProxy, type RedisServer, startRedis } from "@holdfast/testkit";

/** With "everysec" a busy disk may keep even a killed server from having written what it acknowledged. */
const SETTINGS = { appendonly: "yes", appendfsync: "always" } as const;

/** One Redis server, and with failover a replica that takes its place; clients reach whichever leads. */
export class RedisPair implements AsyncDisposable {
  #leader: RedisServer;
  #replica: RedisServer | undefined;
  readonly #target: { port: number };
  readonly #source: { port: number };
  readonly #replication: FaultProxy;
  readonly #resources: readonly AsyncDisposable[];
  /** Passes everything on, to the leader. */
  readonly plain: FaultProxy;
  /** The same, with faults. */
  readonly faulty: FaultProxy;

  private constructor(parts: {
    readonly leader: RedisServer;
    readonly replica: RedisServer | undefined;
    readonly target: { port: number };
    readonly source: { port: number };
    readonly proxies: readonly [FaultProxy, FaultProxy, FaultProxy];
  }) {
    this.#leader = parts.leader;
    this.#replica = parts.replica;
    this.#target = parts.target;
    this.#source = parts.source;
    [this.plain, this.faulty, this.#replication] = parts.proxies;
    this.#resources = [
      ...parts.proxies,
      parts.leader,
      ...(parts.replica === undefined ? [] : [parts.replica]),
    ];
  }

  static async start(options: { readonly hasReplica: boolean }): Promise<RedisPair> {
    const leader = await startRedis({ settings: SETTINGS });
    const replica = options.hasReplica ? await startRedis({ settings: SETTINGS }) : undefined;
    const target = { port: leader.port };
    const source = { port: leader.port };
    const proxies = [
      await createFaultProxy({ target }),
      await createFaultProxy({ target }),
      await createFaultProxy({ target: source }),
    ] as const;
    const pair = new RedisPair({ leader, replica, target, source, proxies });
    await pair.#follow();
    return pair;
  }

  /** `redis://` of the leader, whichever that is. */
  get url(): string {
    return `redis://127.0.0.1:${this.plain.port}`;
  }

  async restart(signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    await this.#leader.kill(signal);
    await this.#leader.start();
  }

  /**
   * The leader dies and its replica leads, without what it was not told in the last `cutMs`; the old leader comes
   * back as replica of the new one.
   */
  async failOver(cutMs: number): Promise<void> {
    const [old, next] = [this.#leader, this.#replica];
    if (next === undefined) throw new Error("there is no replica");
    this.#replication.set({ cut: true }, "toClient");
    await pause(cutMs);
    await old.kill("SIGKILL");
    this.#replication.reset();
    await next.command("REPLICAOF", "NO", "ONE");
    this.#target.port = next.port;
    this.plain.reset();
    this.faulty.reset();
    [this.#leader, this.#replica] = [next, old];
    this.#source.port = next.port;
    await this.#replication.heal();
    await old.start();
    await this.#follow();
  }

  /** The replica follows, and has everything. */
  async #follow(): Promise<void> {
    if (this.#replica === undefined) return;
    await this.#replica.command("REPLICAOF", "127.0.0.1", this.#replication.port);
    while (!String(await this.#replica.command("INFO", "replication")).includes("master_link_status:up")) {
      await pause(20);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const resource of this.#resources) await resource[Symbol.asyncDispose]();
  }
}
