import { chown, open, rename, rm } from "node:fs/promises";
import type { RunAs } from "./tool.ts";

/** Where a file is written before it has its name; what a process that was killed leaves of it. */
export const draftOf = (path: string): string => `${path}.part`;

/**
 * Writes a value as JSON, readable by its owner alone. The file is there whole and flushed, or as it was before; a failure
 * leaves no draft beside it.
 *
 * @param options.owner Whose it becomes. Default: this process's.
 */
export const writeJsonFile = async (
  path: string,
  value: unknown,
  { owner }: { readonly owner?: RunAs | undefined } = {},
): Promise<void> => {
  const draft = draftOf(path);
  try {
    const file = await open(draft, "w", 0o600);
    try {
      await file.writeFile(`${JSON.stringify(value, undefined, 2)}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    if (owner !== undefined) await chown(draft, owner.uid, owner.gid);
    await rename(draft, path);
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  }
};
