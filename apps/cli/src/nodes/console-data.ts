import { resolve } from "node:path";
import { createDataSource, type DataSource } from "@holdfast/console";
import { type Database, DirectoryRepository, openRedis } from "@holdfast/data";
import { systemRandom } from "@holdfast/kernel";
import type { Command } from "commander";
import type { Session } from "../terminal/session.ts";
import type { CellContext } from "./cell.ts";

export interface ConsoleDataFlags {
  readonly redis?: string;
  readonly backups?: string;
}

/** What the console's page about data shows beside the database itself. */
export const withConsoleDataFlags = (command: Command): Command =>
  command
    .option("--redis <url>", "show the caches that live in this Redis in the console (HOLDFAST_REDIS)")
    .option(
      "--backups <dir>",
      "show the backups of this repository in the console (HOLDFAST_BACKUP_REPOSITORY)",
    );

/** Looks at the database of this process for the console; a Redis that is named is opened and closed with it. */
export const openConsoleData = (
  session: Session,
  context: CellContext,
  database: Database,
  flags: ConsoleDataFlags,
): DataSource => {
  const { clock, logger, parts } = context;
  const url = flags.redis ?? session.env.HOLDFAST_REDIS;
  const redis = url === undefined ? undefined : openRedis({ url, clock, random: systemRandom, logger });
  if (redis !== undefined) parts.add({ name: "console's Redis", stop: () => redis.close() });
  const directory = flags.backups ?? session.env.HOLDFAST_BACKUP_REPOSITORY;
  const backups =
    directory === undefined
      ? undefined
      : new DirectoryRepository({ directory: resolve(session.cwd, directory), clock, logger });
  return createDataSource({ database, redis, backups, clock });
};
