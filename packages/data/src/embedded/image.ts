import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { ENGINE_VERSION } from "./engine-version.ts";

/**
 * The image is an empty database as a compressed tar archive, made once by `scripts/build-embedded-image.mjs`
 * (2 to 5 s, and 600 MB of memory while it runs) so that new databases are copies of it (0.2 s).
 */
const IMAGE_FILE = new URL(`../../dist/embedded-image-${ENGINE_VERSION}.tar.gz`, import.meta.url);
const BUILD_SCRIPT = new URL("../../scripts/build-embedded-image.mjs", import.meta.url);

/** How long building the image may take before we give up; seen: 5 s on two busy cores. */
const BUILD_TIMEOUT_MS = 120_000;

/**
 * The image as a tar archive. When it has not been built, it is built now, in another process so that the
 * memory it takes is given back; where it cannot be stored (a read-only installation) it is built each time.
 */
export const loadImage = async (): Promise<Buffer> => {
  let packed: Buffer;
  try {
    packed = await readFile(IMAGE_FILE);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    packed = await buildImage();
  }
  return promisify(gunzip)(packed);
};

const buildImage = async (): Promise<Buffer> => {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [fileURLToPath(BUILD_SCRIPT), "--print", fileURLToPath(IMAGE_FILE)],
    { encoding: "buffer", maxBuffer: 64 * 1024 * 1024, timeout: BUILD_TIMEOUT_MS },
  );
  return stdout;
};
