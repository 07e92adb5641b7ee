import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { cp, mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { PGlite } from "@electric-sql/pglite";
import { type Random, randomInt, seededRandom } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import { unpackArchive } from "../src/embedded/archive.ts";
import { DurableFiles } from "../src/embedded/durable-files.ts";
import { engineParameters } from "../src/embedded/engine-parameters.ts";
import { loadImage } from "../src/embedded/image.ts";
import { temporaryDirectory } from "./temporary-directory.ts";

const ENGINE_ROOT = "/pglite/data";

/**
 * What a disk holds that keeps flushed content only: a file appears with the content of its last flush, the
 * removal or renaming of a file with the flush of its directory.
 */
class Disk {
  readonly #live: string;
  readonly #durable: string;
  readonly #flushedByInode = new Map<number, Buffer>();
  flushCount = 0;

  constructor(live: string, durable: string) {
    this.#live = live;
    this.#durable = durable;
  }

  readonly flush = (_fd: number, enginePath: string): void => {
    this.flushCount += 1;
    const path = enginePath.slice(ENGINE_ROOT.length + 1);
    const live = join(this.#live, path);
    const info = statSync(live);
    if (info.isDirectory()) {
      this.#flushDirectory(path);
      return;
    }
    const content = readFileSync(live);
    this.#flushedByInode.set(info.ino, content);
    mkdirSync(dirname(join(this.#durable, path)), { recursive: true });
    writeFileSync(join(this.#durable, path), content, { mode: 0o600 });
  };

  #flushDirectory(path: string): void {
    const live = join(this.#live, path);
    const durable = join(this.#durable, path);
    mkdirSync(durable, { recursive: true, mode: 0o700 });
    const names = new Set(readdirSync(live));
    for (const name of readdirSync(durable)) {
      if (!names.has(name)) rmSync(join(durable, name), { recursive: true });
    }
    for (const name of names) {
      const info = statSync(join(live, name));
      const content = this.#flushedByInode.get(info.ino);
      if (info.isFile() && content !== undefined)
        writeFileSync(join(durable, name), content, { mode: 0o600 });
    }
  }
}

/** Lets some of the files that were written but not flushed reach the disk as well, as they may. */
const writeSomeBack = async (live: string, durable: string, random: Random): Promise<void> => {
  for (const entry of await readdir(live, { recursive: true, withFileTypes: true })) {
    const source = join(entry.parentPath ?? entry.path, entry.name);
    const target = join(durable, source.slice(live.length));
    if (entry.isDirectory()) await mkdir(target, { recursive: true, mode: 0o700 });
    else if (randomInt(random, 2) === 0) await writeFile(target, await readFile(source), { mode: 0o600 });
  }
};

describe("a database that survives a power loss", () => {
  it("has every acknowledged commit when only flushed writes, and any of the others, reached the disk", async () => {
    await using directory = await temporaryDirectory();
    const live = join(directory.path, "live");
    const durable = join(directory.path, "durable");
    unpackArchive(await loadImage(), live);
    await cp(live, durable, { recursive: true });
    const parameters = engineParameters({ flushes: true, sharedBuffersMb: 1 });
    const disk = new Disk(live, durable);
    const engine = await PGlite.create({ fs: new DurableFiles(live, disk.flush), startParams: parameters });
    await engine.exec(
      "CREATE TABLE t (n int PRIMARY KEY, pad text); CREATE TABLE counter (n int); INSERT INTO counter VALUES (0)",
    );
    const cuts: { readonly path: string; readonly acknowledged: number }[] = [];
    for (let n = 1; n <= 200; n += 1) {
      const flushesBefore = disk.flushCount;
      await engine.transaction(async (tx) => {
        await tx.query("INSERT INTO t VALUES ($1, repeat(md5(random()::text), 40))", [n]);
        await tx.query("UPDATE counter SET n = n + 1");
      });
      expect(disk.flushCount).toBeGreaterThan(flushesBefore);
      if (n % 60 === 0) await engine.exec("CHECKPOINT");
      if (n % 60 === 30) await engine.exec("VACUUM t");
      if (n % 95 === 0) {
        const random = seededRandom(n);
        for (const writesBack of [false, true]) {
          const path = join(directory.path, `cut-${n}-${writesBack}`);
          await cp(durable, path, { recursive: true });
          if (writesBack) await writeSomeBack(live, path, random);
          cuts.push({ path, acknowledged: n });
        }
      }
    }
    await engine.close();
    expect(cuts).toHaveLength(4);
    for (const { path, acknowledged } of cuts) {
      await rm(join(path, "postmaster.pid"), { force: true });
      expect((await stat(join(path, "PG_VERSION"))).isFile()).toBe(true);
      const restarted = await PGlite.create({ dataDir: path, startParams: parameters });
      const { rows } = await restarted.query(
        "SELECT count(*)::int AS rows, max(n) AS last, (SELECT n FROM counter) AS counted FROM t",
      );
      expect(rows).toEqual([{ rows: acknowledged, last: acknowledged, counted: acknowledged }]);
      await restarted.close();
    }
  }, 120_000);
});
