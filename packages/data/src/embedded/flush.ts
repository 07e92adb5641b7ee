import { open, readdir } from "node:fs/promises";
import { join } from "node:path";

/** Enough to let the disk gather several flushes; Node's thread pool has four threads. */
const FLUSHES_AT_ONCE = 4;

/** Waits until a file, or the entries of a directory, are on the disk. */
export const flush = async (path: string): Promise<void> => {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } catch (error) {
    // Windows cannot flush a directory, and does not need it.
    if (!["EPERM", "EISDIR"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
  } finally {
    await handle.close();
  }
};

/** Waits until everything below `directory` is on the disk. */
export const flushTree = async (directory: string): Promise<void> => {
  const paths = [directory];
  for (const entry of await readdir(directory, { recursive: true })) paths.push(join(directory, entry));
  const worker = async (): Promise<void> => {
    for (let path = paths.pop(); path !== undefined; path = paths.pop()) await flush(path);
  };
  await Promise.all(Array.from({ length: FLUSHES_AT_ONCE }, worker));
};
