import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { BackupCorruptError, BackupNotFoundError } from "./backup-errors.ts";
import { draftOf, writeJsonFile } from "./json-file.ts";
import type { BackupRecord } from "./repository.ts";
import type { RunAs } from "./tool.ts";

/** The file beside a base backup that makes it count. */
export const RECORD = "backup.json";
/** What is being written of it, also what a process that was killed has left. */
export const RECORD_DRAFT = draftOf(RECORD);

export interface StoredRecord extends BackupRecord {
  readonly segmentBytes: number;
}

/** The records of the base backups in a repository's directory. */
export class RecordStore {
  readonly #root: string;
  readonly #runAs: RunAs | undefined;

  constructor(options: { readonly root: string; readonly runAs: RunAs | undefined }) {
    this.#root = options.root;
    this.#runAs = options.runAs;
  }

  /** @throws BackupNotFoundError */
  async get(id: string): Promise<StoredRecord> {
    const record = /^[\w-]+$/.test(id) ? await this.#read(id) : undefined;
    if (record === undefined) throw new BackupNotFoundError(id, this.#root);
    return record;
  }

  async list(): Promise<readonly StoredRecord[]> {
    const ids = await readdir(join(this.#root, "base")).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return [];
      throw error;
    });
    const records = await Promise.all(ids.filter((id) => !id.startsWith(".")).map((id) => this.#read(id)));
    return records
      .filter((record) => record !== undefined)
      .sort((a, b) => Date.parse(a.finishedAt) - Date.parse(b.finishedAt));
  }

  /** A directory without a record is a backup that did not finish. */
  async #read(id: string): Promise<StoredRecord | undefined> {
    try {
      return JSON.parse(await readFile(join(this.#root, "base", id, RECORD), "utf8")) as StoredRecord;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw new BackupCorruptError(id, [`${RECORD} cannot be read`], { cause: error });
    }
  }

  /** @param directory Where the backup lies, if not yet in its own place. A record that could not be written whole is as it was. */
  async write(record: StoredRecord, directory = join(this.#root, "base", record.id)): Promise<void> {
    await writeJsonFile(join(directory, RECORD), record, { owner: this.#runAs });
  }
}
