import type { RedisScript, RedisTransaction } from "@holdfast/coordination/redis";
import { type Clock, deferred, type Timer } from "@holdfast/kernel";
import { createClient, MultiErrorReply } from "redis";
import { RedisConnectError } from "./redis-errors.ts";
import { addressName, type RedisAddress, type RedisCredentials } from "./redis-target.ts";

/** What a server says of itself. */
export interface RedisServerInfo {
  /** For example "7.0.15". */
  readonly version: string;
  readonly mode: "standalone" | "cluster" | "sentinel";
  readonly role: "master" | "replica";
  /**
   * Another value after a restart of the server and after each promotion of a replica: whatever may have brought
   * older data back. Equal values mean that nothing written was lost in between.
   */
  readonly incarnation: string;
  readonly replicaCount: number;
  /** `min-replicas-to-write` is set. */
  readonly hasWriteQuorum: boolean;
  /** Of `maxmemory-policy`. */
  readonly evictionPolicy: string;
}

export interface RedisLinkOptions {
  readonly address: RedisAddress;
  readonly credentials: RedisCredentials;
  readonly clock: Clock;
  readonly connectTimeoutMs: number;
  /** A server that answers nothing for this long is given up: the link closes, between once and twice as late. */
  readonly answerTimeoutMs: number;
  readonly onClosed: () => void;
}

type Client = ReturnType<typeof openClient>;

const openClient = ({ address, credentials, connectTimeoutMs }: RedisLinkOptions) =>
  createClient({
    RESP: 3,
    // A link is one connection to one incarnation of a server. Whoever uses it decides what a new one means.
    disableOfflineQueue: true,
    // The link watches over answers with one timer; the driver would set one, with a signal, for each command.
    commandOptions: { timeout: 0 },
    socket: {
      host: address.host,
      port: address.port,
      connectTimeout: connectTimeoutMs,
      reconnectStrategy: false,
      ...(credentials.tls ? { tls: true as const } : {}),
    },
    ...(credentials.username === undefined ? {} : { username: credentials.username }),
    ...(credentials.password === undefined ? {} : { password: credentials.password }),
    ...(credentials.database === undefined ? {} : { database: credentials.database }),
  });

const field = (info: string, name: string): string | undefined =>
  new RegExp(`^${name}:(.*?)\\r?$`, "m").exec(info)?.[1];

/**
 * One connection to one Redis server over RESP3. It never reconnects: when it breaks it is over, so everything
 * that was learned from the server over this link stays true of the server at the other end.
 */
export class RedisLink {
  readonly server: string;
  readonly #client: Client;
  readonly #clock: Clock;
  readonly #answerTimeoutMs: number;
  readonly #onClosed: () => void;
  #open = true;
  #pendingCount = 0;
  #answeredCount = 0;
  #watch: Timer | undefined;

  private constructor(client: Client, options: RedisLinkOptions) {
    this.server = addressName(options.address);
    this.#client = client;
    this.#clock = options.clock;
    this.#answerTimeoutMs = options.answerTimeoutMs;
    this.#onClosed = options.onClosed;
  }

  /** @throws RedisConnectError (retryable) when the server cannot be reached or refuses us. */
  static async open(options: RedisLinkOptions): Promise<RedisLink> {
    const client = openClient(options);
    const link = new RedisLink(client, options);
    client.on("error", () => link.destroy());
    client.on("end", () => link.destroy());
    const late = deferred<never>();
    // The driver may never answer when it is destroyed while it connects.
    const timer = options.clock.schedule(options.connectTimeoutMs, () => {
      link.destroy();
      late.reject(new Error(`not connected within ${options.connectTimeoutMs} ms`));
    });
    try {
      await Promise.race([client.connect(), late.promise]);
    } catch (cause) {
      link.destroy();
      throw new RedisConnectError(link.server, { cause });
    } finally {
      timer.cancel();
    }
    if (!link.#open) throw new RedisConnectError(link.server);
    return link;
  }

  get isOpen(): boolean {
    return this.#open;
  }

  /** Sends one command. Commands of one tick share a packet. Rejects with the driver's error. */
  command(args: readonly string[]): Promise<unknown> {
    return this.#watched(this.#client.sendCommand(args as string[]));
  }

  /** By EVALSHA, and by EVAL where the server does not know the script. */
  async runScript(script: RedisScript, keys: readonly string[], args: readonly string[]): Promise<unknown> {
    const rest = [String(keys.length), ...keys, ...args];
    try {
      return await this.command(["EVALSHA", script.sha1, ...rest]);
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith("NOSCRIPT")) throw error;
      return this.command(["EVAL", script.text, ...rest]);
    }
  }

  /** By EVAL: when the server did not know the script, the commands before it would stay without it. */
  async runTransaction({ commands, script, keys, args, publish }: RedisTransaction): Promise<unknown> {
    const multi = this.#client.multi();
    for (const command of commands) multi.addCommand(command as (string | Buffer)[]);
    multi.addCommand(["EVAL", script.text, String(keys.length), ...keys, ...args]);
    const replies = this.#watched(multi.exec()).catch((error: unknown) => {
      throw error instanceof MultiErrorReply ? error.replies[error.errorIndexes[0] ?? 0] : error;
    });
    // Whoever misses it looks by himself sooner or later, so it says nothing of the transaction when it fails.
    const published = this.command(["PUBLISH", ...publish]).catch(() => undefined);
    return (await Promise.all([replies, published]))[0].at(-1);
  }

  /** Messages come in the order in which the server sent them, between the answers to commands. */
  async subscribe(channel: string, onMessage: (message: string) => void): Promise<() => Promise<void>> {
    const listener = (message: string): void => onMessage(message);
    await this.#watched(this.#client.subscribe(channel, listener));
    return async () => {
      if (!this.#open) return;
      await this.#watched(this.#client.unsubscribe(channel, listener)).catch(() => undefined);
    };
  }

  async info(): Promise<RedisServerInfo> {
    const [server, replication, memory] = (await Promise.all(
      ["server", "replication", "memory"].map((section) => this.command(["INFO", section])),
    )) as [string, string, string];
    const mode = field(server, "redis_mode");
    return {
      version: field(server, "redis_version") ?? "0",
      mode: mode === "cluster" || mode === "sentinel" ? mode : "standalone",
      role: field(replication, "role") === "master" ? "master" : "replica",
      incarnation: `${field(server, "run_id") ?? ""}:${field(replication, "master_replid") ?? ""}`,
      hasWriteQuorum: field(replication, "min_slaves_good_slaves") !== undefined,
      replicaCount: Number(field(replication, "connected_slaves") ?? 0),
      evictionPolicy: field(memory, "maxmemory_policy") ?? "unknown",
    };
  }

  /** Ends the connection at once; what waits for an answer rejects. Idempotent. */
  destroy(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#watch?.cancel();
    this.#watch = undefined;
    try {
      this.#client.destroy();
    } catch {
      // It was closed already.
    }
    this.#onClosed();
  }

  #watched<T>(reply: Promise<T>): Promise<T> {
    this.#pendingCount += 1;
    this.#watch ??= this.#startWatch();
    reply.then(this.#answered, this.#answered);
    return reply;
  }

  readonly #answered = (): void => {
    this.#pendingCount -= 1;
    this.#answeredCount += 1;
  };

  /** One timer for all commands: the server must have answered something since it was set. */
  #startWatch(): Timer {
    const answeredCount = this.#answeredCount;
    return this.#clock.schedule(
      this.#answerTimeoutMs,
      () => {
        this.#watch = undefined;
        if (!this.#open || this.#pendingCount === 0) return;
        if (this.#answeredCount === answeredCount) this.destroy();
        else this.#watch = this.#startWatch();
      },
      { unref: true },
    );
  }
}
