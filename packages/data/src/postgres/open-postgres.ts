import {
  type Abortable,
  type Clock,
  type Logger,
  type Random,
  silentLogger,
  systemClock,
  systemRandom,
} from "@holdfast/kernel";
import { UnsupportedServerError } from "../errors.ts";
import type { Database } from "../sql/database.ts";
import { integerOption } from "../sql/integer-option.ts";
import { PostgresConnection } from "./connection.ts";
import { ConnectionPool } from "./connection-pool.ts";
import { NotificationListener } from "./notification-listener.ts";
import { PostgresDatabase } from "./postgres-database.ts";
import { describeServer, parseServerUrl } from "./server-address.ts";

/** The oldest PostgreSQL that we test with. */
const MINIMUM_VERSION = 15;
/** Timers take no more than 2^31 - 1 milliseconds. */
const DURATION_MAX_MS = 2 ** 31 - 1;

export interface PostgresOptions extends Abortable {
  /** `postgres://user:password@host:port/database?sslmode=verify-full&sslrootcert=FILE`. See the README for the parts. */
  readonly url: string;
  /** Most connections for statements, 1 to 1000; one more listens for notifications. Default 10. */
  readonly max?: number | undefined;
  /** Shown by the server in pg_stat_activity. Default "holdfast". */
  readonly applicationName?: string | undefined;
  /** Milliseconds to open a connection. Default 10_000. */
  readonly connectTimeoutMs?: number | undefined;
  /** Milliseconds that a call waits for a connection. Default 10_000. */
  readonly acquireTimeoutMs?: number | undefined;
  /** Most calls that wait; more are refused with OverloadedError. Default 10_000. */
  readonly waitingMaxCount?: number | undefined;
  /** Milliseconds that a statement may run; the server enforces it. 0 is no limit. Default 30_000. */
  readonly statementTimeoutMs?: number | undefined;
  /** Milliseconds that a transaction may do nothing; then the server ends it. 0 is no limit. Default 60_000. */
  readonly idleInTransactionTimeoutMs?: number | undefined;
  /** Milliseconds after which an idle connection is closed. Default 60_000. */
  readonly idleTimeoutMs?: number | undefined;
  /** Milliseconds after which a connection is replaced, shortened at random by up to a fifth. Default 1_800_000. */
  readonly lifetimeMs?: number | undefined;
  /** Prepared statements per connection; 0 behind a pooler in transaction mode. Default 200. */
  readonly preparedMaxCount?: number | undefined;
  readonly clock?: Clock | undefined;
  readonly random?: Random | undefined;
  readonly logger?: Logger | undefined;
}

/** Options of a pool in the form that the pool needs, checked. */
export interface PoolSettings {
  readonly maxCount: number;
  readonly waitingMaxCount: number;
  readonly acquireTimeoutMs: number;
  readonly connectTimeoutMs: number;
  readonly statementTimeoutMs: number;
  readonly idleInTransactionTimeoutMs: number;
  readonly idleTimeoutMs: number;
  readonly lifetimeMs: number;
  readonly preparedMaxCount: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** @throws InvalidInputError naming the option. */
export const readPoolOptions = (options: Omit<PostgresOptions, "url" | "signal">): PoolSettings => {
  const { clock = systemClock, random = systemRandom, logger = silentLogger } = options;
  const duration = (field: keyof typeof options, defaultMs: number, minMs: number): number =>
    integerOption(field, (options[field] as number | undefined) ?? defaultMs, minMs, DURATION_MAX_MS);
  return {
    maxCount: integerOption("max", options.max ?? 10, 1, 1_000),
    waitingMaxCount: integerOption("waitingMaxCount", options.waitingMaxCount ?? 10_000, 0, 1_000_000),
    acquireTimeoutMs: duration("acquireTimeoutMs", 10_000, 1),
    connectTimeoutMs: duration("connectTimeoutMs", 10_000, 1),
    statementTimeoutMs: duration("statementTimeoutMs", 30_000, 0),
    idleInTransactionTimeoutMs: duration("idleInTransactionTimeoutMs", 60_000, 0),
    idleTimeoutMs: duration("idleTimeoutMs", 60_000, 1),
    lifetimeMs: duration("lifetimeMs", 1_800_000, 1),
    preparedMaxCount: integerOption("preparedMaxCount", options.preparedMaxCount ?? 200, 0, 10_000),
    clock,
    random,
    logger,
  };
};

/** @throws UnsupportedServerError */
export const refuseOldServer = (connection: PostgresConnection, server: string): void => {
  if (connection.serverVersionNumber >= MINIMUM_VERSION * 10_000) return;
  throw new UnsupportedServerError(server, connection.serverVersion, String(MINIMUM_VERSION));
};

/**
 * Opens a pool of connections to a PostgreSQL server, 15 or newer, and checks that one can be opened.
 *
 * @throws InvalidInputError for a URL or number that cannot be used, AuthenticationError,
 *   UnsupportedServerError: not retryable.
 * @throws ConnectError when the server does not answer: retryable. No message holds the password.
 */
export const openPostgres = async (options: PostgresOptions): Promise<Database> => {
  const parsed = await parseServerUrl(options.url);
  const address = {
    ...parsed,
    applicationName: options.applicationName ?? parsed.applicationName ?? "holdfast",
  };
  const server = describeServer(address);
  const settings = readPoolOptions(options);
  const { clock, random, logger } = settings;
  const open = (signal: AbortSignal): Promise<PostgresConnection> =>
    PostgresConnection.open({ ...settings, address }, signal);
  const pool = new ConnectionPool({ ...settings, server, open });
  try {
    // Waits as long as opening takes, so that its own error tells what is wrong.
    const first = await pool.acquire({
      signal: options.signal,
      timeoutMs: settings.connectTimeoutMs + 1_000,
    });
    pool.release(first);
    refuseOldServer(first, server);
    const listener = new NotificationListener({
      // Idle by nature, and probed by the listener itself.
      open: (signal) => PostgresConnection.open({ ...settings, address, preparedMaxCount: 0 }, signal),
      clock,
      random,
      logger,
    });
    return new PostgresDatabase({
      pool,
      listener,
      maxCount: settings.maxCount,
      serverVersion: first.serverVersion,
      clock,
    });
  } catch (error) {
    await pool.close(0);
    throw error;
  }
};
