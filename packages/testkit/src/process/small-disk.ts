import { execFileSync } from "node:child_process";
import { mkdtempSync, rmdirSync } from "node:fs";
import { mkdir, open, rm, rmdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ServiceUser } from "./service-user.ts";

const CHUNK = Buffer.alloc(1 << 20);

/** A disk of its own that can be filled. It lives in memory, takes what is on it, and is gone after dispose. */
export interface SmallDisk extends AsyncDisposable {
  readonly path: string;
  /** Takes all the space that is left, until {@link SmallDisk.free}; once more what became free meanwhile. */
  fill(): Promise<void>;
  /** Gives it back. */
  free(): Promise<void>;
}

const mount = (path: string, options: string): void => {
  execFileSync("mount", ["-t", "tmpfs", "-o", options, "tmpfs", path], {
    stdio: ["ignore", "ignore", "pipe"],
  });
};

let known: { readonly reason: string | undefined } | undefined;

/** Why no disk can be mounted here, or undefined when one can. */
export const smallDiskUnavailable = (): string | undefined => {
  known ??= { reason: tryToMount() };
  return known.reason;
};

const tryToMount = (): string | undefined => {
  if (process.platform !== "linux" || process.getuid?.() !== 0)
    return "a small disk can only be mounted by root, on Linux";
  const path = mkdtempSync(join(tmpdir(), "holdfast-disk-"));
  try {
    mount(path, "size=1m");
    execFileSync("umount", [path], { stdio: "ignore" });
    return undefined;
  } catch {
    return "a small disk could not be mounted: the container has no right to";
  } finally {
    rmdirSync(path);
  }
};

/** Mounts a disk of `sizeMiB` at `path`, which must not exist. @throws Error where {@link smallDiskUnavailable}. */
export const mountSmallDisk = async (
  path: string,
  options: { readonly sizeMiB: number; readonly owner: ServiceUser },
): Promise<SmallDisk> => {
  await mkdir(path);
  const { uid = 0, gid = 0 } = options.owner;
  mount(path, `size=${options.sizeMiB}m,mode=0700,uid=${uid},gid=${gid}`);
  const ballast = join(path, "ballast");
  return {
    path,
    async fill() {
      const file = await open(ballast, "a");
      try {
        for (let step = CHUNK.length; step >= 1; ) {
          const fits = await file.write(CHUNK, 0, step).then(
            ({ bytesWritten }) => bytesWritten === step,
            () => false,
          );
          // It grows again where others gave space back meanwhile: byte by byte a few MiB would take minutes.
          step = fits ? Math.min(step * 2, CHUNK.length) : Math.floor(step / 2);
        }
      } finally {
        await file.close();
      }
    },
    free: () => rm(ballast, { force: true }),
    async [Symbol.asyncDispose]() {
      // A process that is just ending may hold it for a moment: detached, it goes with its last user.
      execFileSync("umount", ["-l", path], { stdio: "ignore" });
      await rmdir(path);
    },
  };
};
