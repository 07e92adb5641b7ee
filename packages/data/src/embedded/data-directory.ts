import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { type Clock, type Random, randomHex } from "@holdfast/kernel";
import { unpackArchive } from "./archive.ts";
import { DataDirectoryInvalidError, DataDirectoryTooNewError } from "./data-directory-errors.ts";
import { type DirectoryLock, lockDirectory } from "./directory-lock.ts";
import { ENGINE_POSTGRES_MAJOR } from "./engine-version.ts";
import { flush, flushTree } from "./flush.ts";
import { loadImage } from "./image.ts";

/** The layout of the directory itself; grows when a newer version arranges it in a way that we would not understand. */
const FORMAT = 1;
const MARKER_FILE = "holdfast.json";
const CLUSTER_DIRECTORY = "pgdata";
const DRAFT_DIRECTORY = "pgdata.new";
/** What an interrupted start, or the file system itself, may leave in a directory that is empty otherwise. */
const OWN_LEFTOVERS = /^(lock(\..*)?|holdfast\.json\.new|lost\+found)$/;

/** The content of `holdfast.json`, by which we know our own directories. */
interface Marker {
  readonly product: "holdfast";
  readonly format: number;
  readonly postgresMajor: number;
  /** Tells apart databases that began as copies of one image. */
  readonly databaseId: string;
  readonly createdAt: string;
  /** Absent while the database is being put in place: an interrupted creation starts over. */
  readonly complete?: true;
}

interface DirectoryOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** Whether a new database has to reach the disk before it is used. */
  readonly flushNew: boolean;
}

export interface DataDirectory extends DirectoryLock {
  /** Where the engine keeps the database. */
  readonly clusterPath: string;
  readonly databaseId: string;
  readonly isNew: boolean;
}

/**
 * Locks the data directory at `path` for this process, and puts an empty database there when the directory is
 * missing or empty.
 *
 * @throws DataDirectoryLockedError, DataDirectoryTooNewError, DataDirectoryInvalidError; the directory is
 *   unchanged then.
 */
export const openDataDirectory = async (path: string, options: DirectoryOptions): Promise<DataDirectory> => {
  const directory = resolve(path);
  try {
    // Looked at before the lock, so that nothing is left in a directory that is not ours.
    await readMarker(directory);
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const lock = await lockDirectory(directory, options.random);
    try {
      return await prepare(directory, lock, options);
    } catch (error) {
      await lock.release();
      throw error;
    }
  } catch (error) {
    throw explain(directory, error);
  }
};

const prepare = async (
  directory: string,
  lock: DirectoryLock,
  { clock, random, flushNew }: DirectoryOptions,
): Promise<DataDirectory> => {
  const clusterPath = join(directory, CLUSTER_DIRECTORY);
  const found = await readMarker(directory);
  if (found?.complete === true) {
    if (!(await exists(join(clusterPath, "PG_VERSION")))) {
      throw new DataDirectoryInvalidError(
        directory,
        `its database (${CLUSTER_DIRECTORY}) is missing: restore it, or delete the directory to start with an empty one`,
      );
    }
    return { ...lock, clusterPath, databaseId: found.databaseId, isNew: false };
  }
  const marker: Marker = found ?? {
    product: "holdfast",
    format: FORMAT,
    postgresMajor: ENGINE_POSTGRES_MAJOR,
    databaseId: randomHex(random, 32),
    createdAt: new Date(clock.wallNow()).toISOString(),
  };
  await writeMarker(directory, marker);
  const draft = join(directory, DRAFT_DIRECTORY);
  await rm(draft, { recursive: true, force: true });
  await rm(clusterPath, { recursive: true, force: true });
  unpackArchive(await loadImage(), draft);
  if (flushNew) await flushTree(draft);
  await rename(draft, clusterPath);
  await writeMarker(directory, { ...marker, complete: true });
  return { ...lock, clusterPath, databaseId: marker.databaseId, isNew: true };
};

/** The marker of a directory of ours, or undefined for a missing or empty directory. */
const readMarker = async (directory: string): Promise<Marker | undefined> => {
  const names = await listDirectory(directory);
  if (!names.includes(MARKER_FILE)) {
    const foreign = names.find((name) => !OWN_LEFTOVERS.test(name));
    if (foreign === undefined) return undefined;
    throw new DataDirectoryInvalidError(
      directory,
      `it holds ${foreign} and no ${MARKER_FILE}, so it is not a data directory of Holdfast: choose an empty or a new one`,
    );
  }
  const marker = parseMarker(directory, await readFile(join(directory, MARKER_FILE), "utf8"));
  if (marker.format > FORMAT) {
    throw new DataDirectoryTooNewError(directory, `format ${marker.format}`, `format ${FORMAT}`);
  }
  if (marker.postgresMajor > ENGINE_POSTGRES_MAJOR) {
    throw new DataDirectoryTooNewError(
      directory,
      `PostgreSQL ${marker.postgresMajor}`,
      `PostgreSQL ${ENGINE_POSTGRES_MAJOR}`,
    );
  }
  if (marker.postgresMajor < ENGINE_POSTGRES_MAJOR) {
    throw new DataDirectoryInvalidError(
      directory,
      `it was written by PostgreSQL ${marker.postgresMajor} and this version contains ${ENGINE_POSTGRES_MAJOR}: export the data with the version of Holdfast that wrote it`,
    );
  }
  return marker;
};

const parseMarker = (directory: string, text: string): Marker => {
  let marker: Partial<Marker> | undefined;
  try {
    marker = JSON.parse(text) as Partial<Marker>;
  } catch {
    marker = undefined;
  }
  if (
    marker?.product !== "holdfast" ||
    !Number.isInteger(marker.format) ||
    !Number.isInteger(marker.postgresMajor) ||
    typeof marker.databaseId !== "string"
  ) {
    throw new DataDirectoryInvalidError(
      directory,
      `its ${MARKER_FILE} is damaged: restore that file from a backup, or choose another directory`,
    );
  }
  return marker as Marker;
};

/** Written aside, flushed and renamed: a crash leaves the old marker or the new one. */
const writeMarker = async (directory: string, marker: Marker): Promise<void> => {
  const draft = join(directory, `${MARKER_FILE}.new`);
  await writeFile(draft, `${JSON.stringify(marker, null, 2)}\n`, { mode: 0o600 });
  await flush(draft);
  await rename(draft, join(directory, MARKER_FILE));
  await flush(directory);
};

const listDirectory = async (directory: string): Promise<readonly string[]> => {
  try {
    return await readdir(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
};

const exists = async (path: string): Promise<boolean> => {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
};

const REASONS: Readonly<Record<string, string>> = {
  EACCES: "this user may not read or write it: change its owner or choose another directory",
  EPERM: "this user may not write it, or its file system has no hard links: choose another directory",
  ENOTSUP: "its file system has no hard links: choose another directory",
  EOPNOTSUPP: "its file system has no hard links: choose another directory",
  EROFS: "its file system is read-only: choose another directory",
  ENOSPC: "its disk is full: free some space, then try again",
  ENOTDIR: "it, or something above it, is a file: choose another directory",
  EEXIST: "it is a file: choose another directory",
};

const explain = (directory: string, error: unknown): unknown => {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  const reason = REASONS[code];
  return reason === undefined ? error : new DataDirectoryInvalidError(directory, reason, { cause: error });
};
