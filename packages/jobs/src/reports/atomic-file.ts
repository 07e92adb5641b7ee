import { link, mkdir, open, rename, unlink } from "node:fs/promises";
import { dirname, extname, join } from "node:path";
import { newId, type Random } from "@holdfast/kernel";

/** More files of one name than anyone has; a directory in which every name is taken is an error. */
const SUFFIX_MAX = 9_999;

export interface AtomicWriteOptions {
  /** `overwrite` replaces an existing file; `number` leaves it and takes `name_1`, `name_2` … */
  readonly whenExists: "overwrite" | "number";
  readonly random: Random;
}

/**
 * Writes a file whole or not at all: to a temporary file beside it, to the disk, then by name. Creates missing
 * directories. Returns the path that was taken. What fails leaves no temporary file behind.
 */
export const writeFileAtomically = async (
  path: string,
  content: string,
  { whenExists, random }: AtomicWriteOptions,
): Promise<string> => {
  await mkdir(dirname(path), { recursive: true });
  const temporary = join(dirname(path), `.${newId("report", random)}.tmp`);
  try {
    await writeToDisk(temporary, content);
    if (whenExists === "number") return await takeFreeName(temporary, path);
    await rename(temporary, path);
    return path;
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    throw error;
  }
};

const writeToDisk = async (path: string, content: string): Promise<void> => {
  const file = await open(path, "wx");
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
};

/** A hard link refuses a name that is taken, so of two writers each gets its own. */
const takeFreeName = async (temporary: string, path: string): Promise<string> => {
  const extension = extname(path);
  const stem = path.slice(0, path.length - extension.length);
  for (let suffix = 0; suffix <= SUFFIX_MAX; suffix += 1) {
    const candidate = suffix === 0 ? path : `${stem}_${suffix}${extension}`;
    try {
      await link(temporary, candidate);
      await unlink(temporary);
      return candidate;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "EEXIST") continue;
      if (code !== "EPERM" && code !== "ENOTSUP" && code !== "ENOSYS") throw error;
      if (await replaceReserved(temporary, candidate)) return candidate;
    }
  }
  throw new Error(`${path} and all names up to _${SUFFIX_MAX} exist`);
};

/** Where the file system has no hard links: reserves the name with an empty file, then replaces that. */
const replaceReserved = async (temporary: string, path: string): Promise<boolean> => {
  try {
    await (await open(path, "wx")).close();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
  await rename(temporary, path);
  return true;
};
