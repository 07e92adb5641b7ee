import { type Clock, ClosedError, type Logger, type Random, TaskGroup, untilAborted } from "@holdfast/kernel";
import { exponentialBackoff } from "@holdfast/resilience";
import type { ListenInterruption } from "../sql/database.ts";
import { quoteIdentifier } from "../sql/identifier.ts";
import { Subscriptions } from "../sql/subscriptions.ts";
import { outsideTransactions } from "../sql/transaction-scope.ts";
import type { PostgresConnection } from "./connection.ts";

/** A connection that only listens would never notice that the other side is gone, so it asks. */
const PROBE_EVERY_MS = 15_000;
const PROBE_TIMEOUT_MS = 5_000;

const RECONNECT = exponentialBackoff({ baseMs: 100, capMs: 5_000 });

/**
 * All notifications of one database over one connection of its own, opened with the first listener and closed
 * after the last. When the connection breaks it is opened again, with pauses that grow to 5 s, and every channel
 * is listened to again.
 */
export class NotificationListener {
  readonly #open: (signal: AbortSignal) => Promise<PostgresConnection>;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #logger: Logger;
  readonly #subscriptions: Subscriptions;
  readonly #tasks: TaskGroup;
  #connection: PostgresConnection | undefined;
  /** Listeners were told that the connection is lost, and not yet that there is another. */
  #isLost = false;
  /** How often the connection was to be given up. */
  #leaveCount = 0;
  /** Changes of what is listened to, one after another. */
  #changes: Promise<void> = Promise.resolve();

  constructor(options: {
    readonly open: (signal: AbortSignal) => Promise<PostgresConnection>;
    readonly clock: Clock;
    readonly random: Random;
    readonly logger: Logger;
  }) {
    this.#open = options.open;
    this.#clock = options.clock;
    this.#random = options.random;
    this.#logger = options.logger;
    this.#subscriptions = new Subscriptions(options.logger);
    this.#tasks = new TaskGroup({ logger: options.logger });
  }

  get listenerCount(): number {
    return this.#subscriptions.size;
  }

  async listen(
    channel: string,
    onPayload: (payload: string) => void,
    onInterrupted?: (what: ListenInterruption) => void,
  ): Promise<AsyncDisposable> {
    quoteIdentifier(channel, "channel");
    const remove = this.#subscriptions.add(channel, onPayload, onInterrupted);
    try {
      await this.#change(() => this.#listenTo(channel));
    } catch (error) {
      remove();
      await this.#change(() => this.#stopListeningTo(channel));
      throw error;
    }
    return {
      [Symbol.asyncDispose]: async () => {
        if (remove()) await this.#change(() => this.#stopListeningTo(channel));
      },
    };
  }

  /** Gives the connection up, also one that is being opened, so that the next one is opened to where `open` leads now. */
  reconnect(): void {
    this.#leaveCount += 1;
    const connection = this.#connection;
    if (connection !== undefined) {
      this.#tasks.spawn("leave a listening connection", () => connection.close("broken"));
    }
  }

  async close(): Promise<void> {
    await this.#tasks.stop(new ClosedError("the database"));
    await this.#change(async () => {
      await this.#connection?.close("closed");
      this.#connection = undefined;
    });
  }

  #change(body: () => Promise<void>): Promise<void> {
    const change = this.#changes.then(body);
    this.#changes = change.catch(() => undefined);
    return change;
  }

  async #listenTo(channel: string): Promise<void> {
    if (this.#connection === undefined) {
      // The connection belongs to no caller's transaction.
      await outsideTransactions(() => this.#connect());
      return;
    }
    await this.#command(this.#connection, `LISTEN ${quoteIdentifier(channel, "channel")}`);
  }

  /** Failures do not matter: what is not listened to any more is delivered to nobody. */
  async #stopListeningTo(channel: string): Promise<void> {
    const connection = this.#connection;
    if (connection === undefined || this.#subscriptions.has(channel)) return;
    if (this.#subscriptions.size === 0) {
      this.#connection = undefined;
      await connection.close("closed");
      return;
    }
    await this.#command(connection, `UNLISTEN ${quoteIdentifier(channel, "channel")}`).catch(() => undefined);
  }

  async #connect(): Promise<void> {
    const leaveCount = this.#leaveCount;
    const connection = await this.#open(this.#tasks.signal);
    connection.onNotification((channel, payload) => this.#subscriptions.deliver(channel, payload));
    const text = this.#subscriptions.channels
      .map((name) => `LISTEN ${quoteIdentifier(name, "channel")}`)
      .join(";");
    try {
      await this.#command(connection, text);
    } catch (error) {
      await connection.close("broken");
      throw error;
    }
    this.#connection = connection;
    this.#tasks.spawn("watch the listening connection", (signal) => this.#watch(connection, signal));
    // Whoever opened it: a listener that comes while there is none is quicker than the next attempt.
    if (this.#isLost) this.#subscriptions.interrupt("listening");
    this.#isLost = false;
    if (this.#leaveCount !== leaveCount) this.reconnect();
  }

  async #command(connection: PostgresConnection, text: string): Promise<void> {
    await connection.run(text, undefined, { timeoutMs: PROBE_TIMEOUT_MS, repeatable: true });
  }

  /** Ends when the connection was given up; starts the next when it broke. */
  async #watch(connection: PostgresConnection, signal: AbortSignal): Promise<void> {
    const probes = new AbortController();
    const stop = (): void => probes.abort();
    connection.gone.then(stop, stop);
    while (!probes.signal.aborted) {
      await this.#clock
        .sleep(PROBE_EVERY_MS, { signal: AbortSignal.any([probes.signal, signal]) })
        .catch(stop);
      if (probes.signal.aborted) break;
      await this.#change(() => this.#command(connection, "SELECT 1")).catch(() => connection.close("broken"));
    }
    signal.throwIfAborted();
    if (this.#connection !== connection) return;
    this.#connection = undefined;
    this.#isLost = true;
    this.#subscriptions.interrupt("lost");
    await this.#reconnect(signal);
  }

  async #reconnect(signal: AbortSignal): Promise<void> {
    for (let attempt = 1; this.#subscriptions.size > 0 && this.#connection === undefined; attempt += 1) {
      try {
        await untilAborted(
          this.#change(async () => {
            if (this.#connection === undefined && this.#subscriptions.size > 0) await this.#connect();
          }),
          signal,
        );
      } catch (error) {
        signal.throwIfAborted();
        this.#logger.warn(
          { err: error, attempt },
          "the connection for notifications could not be opened again",
        );
        await this.#clock.sleep(RECONNECT.delayMs(attempt, undefined, this.#random), { signal });
      }
    }
    this.#isLost = false;
  }
}
