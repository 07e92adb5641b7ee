import { readFile } from "node:fs/promises";

/**
 * The SQL lies in its own files, which the compiler does not copy. They are read from `src`, which ships with
 * the package; the way there is the same from `src/backends/postgres` and from `dist/backends/postgres`.
 */
const HERE = new URL("../../../src/backends/postgres/", import.meta.url);

const STATEMENT_NAMES = [
  "advance-schedule",
  "append-entries",
  "assert-fence",
  "await-leases",
  "cancel-groups",
  "claim-limited",
  "claim-tasks",
  "complete-forgotten-tasks",
  "complete-kept-tasks",
  "delete-groups",
  "delete-streams",
  "enqueue-alike-tasks",
  "enqueue-new-tasks",
  "enqueue-tasks",
  "expire-states",
  "fail-tasks",
  "find-existing-tasks",
  "grant-lease",
  "limit-queue",
  "link-dependencies",
  "list-leases",
  "list-schedules",
  "list-tasks",
  "lock-streams",
  "next-due",
  "next-token",
  "now",
  "pause-queue",
  "purge-tasks",
  "put-schedule",
  "queue-stats",
  "read-bounds",
  "read-entries",
  "read-lease",
  "read-settings",
  "read-states",
  "recover-tasks",
  "release-lease",
  "remove-schedule",
  "renew-claims",
  "renew-leases",
  "report-progress",
  "requeue-dead",
  "revoke-leases",
  "start-dependents",
  "sweep-leases",
  "sweep-queues",
  "trim-stream",
  "write-states",
] as const;

export type StatementName = (typeof STATEMENT_NAMES)[number];
export type Statements = Readonly<Record<StatementName, string>>;

/** The migrations in order; the place in the list plus one is the schema version that each leads to. */
const MIGRATION_FILES = [
  "0001-leases-log-tasks.sql",
  "0002-queue-features.sql",
  "0003-states-and-lease-waiters.sql",
  "0004-claims-by-priority.sql",
  "0005-stats-by-index.sql",
  "0006-payloads-as-text.sql",
  "0007-times-inline.sql",
  "0008-room-for-claims.sql",
  "0009-rates-when-clocks-step-back.sql",
] as const;

const read = async (path: string, schema: string): Promise<string> => {
  const text = await readFile(new URL(path, HERE), "utf8");
  // checkSchemaName lets no character through that would need escaping.
  return text.replaceAll(':"schema"', `"${schema}"`).replaceAll(":'channel'", `'${channelOf(schema)}'`);
};

/** One channel per schema; its payloads are JSON arrays of wake-up keys, or empty for "anything". */
export const channelOf = (schema: string): string => `holdfast:${schema}`;

export const readStatements = async (schema: string): Promise<Statements> => {
  const entries = await Promise.all(
    STATEMENT_NAMES.map(async (name) => [name, await read(`sql/${name}.sql`, schema)] as const),
  );
  return Object.fromEntries(entries) as Record<StatementName, string>;
};

/** Each migration as the list of its statements. */
export const readMigrations = (schema: string): Promise<readonly (readonly string[])[]> =>
  Promise.all(
    MIGRATION_FILES.map(async (file) => (await read(`migrations/${file}`, schema)).split(/^-- next$/m)),
  );
