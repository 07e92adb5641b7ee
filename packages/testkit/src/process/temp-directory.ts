import { chmod, chown, mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { forgetDirectory, reapDirectory } from "./reaper.ts";
import type { ServiceUser } from "./service-user.ts";

/** A new, empty directory that is removed with all its content on dispose, or when the test process ends. */
export interface TempDirectory extends AsyncDisposable {
  readonly path: string;
}

/**
 * Makes a directory of mode 0700 under the system's temporary directory.
 * @param options.owner Whose directory it is; default the current user.
 */
export const makeTempDirectory = async (
  prefix = "holdfast-",
  options: { readonly owner?: ServiceUser } = {},
): Promise<TempDirectory> => {
  const path = await mkdtemp(join(await realpath(tmpdir()), prefix));
  reapDirectory(path);
  await chmod(path, 0o700);
  const { owner } = options;
  if (owner?.uid !== undefined && owner.gid !== undefined) await chown(path, owner.uid, owner.gid);
  return {
    path,
    async [Symbol.asyncDispose]() {
      await rm(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
      forgetDirectory(path);
    },
  };
};
