// Makes the image of an empty embedded database: dist/embedded-image-<PGlite version>.tar.gz.
// Does nothing when it exists. With --print FILE it also writes the image to standard output, and goes on
// without a file where none can be written.
import { mkdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const WAL_SEGMENT_MB = 4;

const buildImage = async () => {
  const { PGlite } = await import("@electric-sql/pglite");
  const database = await PGlite.create({
    startParams: [...PGlite.defaultStartParams, "-c", "shared_buffers=16MB"],
    // Small segments keep a young data directory small; they are reused afterwards.
    initDbStartParams: [`--wal-segsize=${WAL_SEGMENT_MB}`],
  });
  // The engine cannot connect to a second database, so the two that new ones would be copied from are of no
  // use. Without them a data directory has a third of the files, which is most of what creating one takes.
  await database.exec("UPDATE pg_database SET datistemplate = false");
  for (const name of ["template0", "template1"]) await database.exec(`DROP DATABASE ${name}`);
  await database.exec("VACUUM (FREEZE, ANALYZE)");
  await database.exec("CHECKPOINT");
  const archive = await database.dumpDataDir("none");
  await database.close();
  return gzipSync(Buffer.from(await archive.arrayBuffer()), { level: 6 });
};

const defaultFile = async () => {
  const entry = createRequire(import.meta.url).resolve("@electric-sql/pglite");
  const manifest = JSON.parse(await readFile(join(dirname(entry), "../package.json"), "utf8"));
  return join(dirname(fileURLToPath(import.meta.url)), `../dist/embedded-image-${manifest.version}.tar.gz`);
};

const store = async (file, image) => {
  await mkdir(dirname(file), { recursive: true });
  // Renamed into place, so that nobody ever reads half an image.
  const draft = `${file}.${process.pid}`;
  try {
    await writeFile(draft, image);
    await rename(draft, file);
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  }
};

const [mode, givenFile] = process.argv.slice(2);
if (mode === "--print") {
  const image = await buildImage();
  await store(givenFile, image).catch((error) => {
    if (!["EACCES", "EPERM", "EROFS", "ENOSPC"].includes(error.code)) throw error;
  });
  await new Promise((resolve) => process.stdout.write(image, resolve));
} else {
  const file = await defaultFile();
  const exists = await stat(file).then(
    () => true,
    () => false,
  );
  if (!exists) await store(file, await buildImage());
}
process.exit(0);
