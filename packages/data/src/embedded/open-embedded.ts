import { statfs } from "node:fs/promises";
import { PGlite } from "@electric-sql/pglite";
import { vector } from "@electric-sql/pglite-pgvector";
import {
  type Clock,
  type Logger,
  type Random,
  silentLogger,
  systemClock,
  systemRandom,
} from "@holdfast/kernel";
import type { Database } from "../sql/database.ts";
import { integerOption } from "../sql/integer-option.ts";
import { type DataDirectory, openDataDirectory } from "./data-directory.ts";
import { DataDirectoryInvalidError } from "./data-directory-errors.ts";
import { DurableFiles } from "./durable-files.ts";
import { EmbeddedDatabase } from "./embedded-database.ts";
import { engineParameters } from "./engine-parameters.ts";
import { loadImage } from "./image.ts";

export interface EmbeddedOptions {
  /** Where the data lives; created when missing or empty. Without it everything is in memory and ends with `close`. */
  readonly dataDir?: string | undefined;
  /**
   * What a commit survives, for a database in a directory.
   * - "power-loss" (default): each commit is flushed to the disk, as a PostgreSQL server does.
   * - "process-crash": a killed process loses nothing acknowledged, a power loss or a crash of the operating
   *   system may lose the last seconds, or the database. About five times the single-row commits per second.
   */
  readonly durability?: "power-loss" | "process-crash" | undefined;
  /** MiB for PostgreSQL's buffers, 1 to 512. Default 16: the operating system caches the files as well. */
  readonly sharedBuffersMb?: number | undefined;
  /** Milliseconds that a call waits for its turn. Default 30_000. */
  readonly acquireTimeoutMs?: number | undefined;
  /** Most calls that wait for their turn; more are refused with OverloadedError. Default 10_000. */
  readonly waitingMaxCount?: number | undefined;
  readonly clock?: Clock | undefined;
  readonly random?: Random | undefined;
  readonly logger?: Logger | undefined;
}

/**
 * Opens PostgreSQL inside this process (PGlite), with pgvector available as the extension `vector`.
 *
 * There is one session: transactions run one after another, other calls wait for them. Statements run on the
 * calling thread. The directory is locked against a second process; a lock left behind by a killed process is
 * taken over. Opening takes 0.3 s, for a new directory 0.7 s.
 *
 * @throws DataDirectoryLockedError, DataDirectoryTooNewError, DataDirectoryInvalidError; nothing was changed.
 */
export const openEmbedded = async (options: EmbeddedOptions = {}): Promise<Database> => {
  const {
    clock = systemClock,
    random = systemRandom,
    logger = silentLogger,
    durability = "power-loss",
  } = options;
  const sharedBuffersMb = integerOption("sharedBuffersMb", options.sharedBuffersMb ?? 16, 1, 512);
  const acquireTimeoutMs = integerOption(
    "acquireTimeoutMs",
    options.acquireTimeoutMs ?? 30_000,
    1,
    86_400_000,
  );
  const waitingMaxCount = integerOption("waitingMaxCount", options.waitingMaxCount ?? 10_000, 0, 1_000_000);
  const inDirectory = options.dataDir !== undefined;
  const flushes = inDirectory && durability === "power-loss";
  const directory = inDirectory
    ? await openDataDirectory(options.dataDir, { clock, random, flushNew: flushes })
    : undefined;
  try {
    const engine = await startEngine(directory, { flushes, sharedBuffersMb });
    return await EmbeddedDatabase.start({
      engine,
      directory,
      where: options.dataDir ?? "memory",
      durability: inDirectory ? durability : "none",
      acquireTimeoutMs,
      waitingMaxCount,
      clock,
      logger,
    });
  } catch (error) {
    await directory?.release();
    throw error;
  }
};

/** A start writes a checkpoint and may need a new log segment of 4 MiB. */
const START_NEEDS_BYTES = 8 * 1024 * 1024;

const startEngine = async (
  directory: DataDirectory | undefined,
  settings: { readonly flushes: boolean; readonly sharedBuffersMb: number },
): Promise<PGlite> => {
  const said: string[] = [];
  const common = {
    extensions: { vector },
    startParams: engineParameters(settings),
    onStderr: (line: string) => {
      if (/FATAL|PANIC/.test(line)) said.push(line.trim());
      return false;
    },
  };
  if (directory === undefined) {
    const image = await loadImage();
    return PGlite.create({ ...common, loadDataDir: new Blob([new Uint8Array(image)]) });
  }
  const { clusterPath } = directory;
  const files = settings.flushes ? { fs: new DurableFiles(clusterPath) } : { dataDir: clusterPath };
  try {
    return await PGlite.create({ ...common, ...files });
  } catch (cause) {
    const { bavail, bsize } = await statfs(clusterPath);
    const reason =
      bavail * bsize < START_NEEDS_BYTES
        ? "its disk is full: free some space, then try again; nothing is lost"
        : `PostgreSQL does not start from it${said.map((line) => ` (${line})`).join("")}: restore it from a backup, or choose another directory`;
    throw new DataDirectoryInvalidError(clusterPath, reason, { cause });
  }
};
