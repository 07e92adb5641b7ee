import { readFile } from "node:fs/promises";
import { BackupCorruptError } from "./backup-errors.ts";

/** What the manifest of a base backup tells about it (PostgreSQL manual, "Backup Manifest Format"). */
export interface ManifestFacts {
  readonly timeline: number;
  readonly startLsn: string;
  readonly stopLsn: string;
  readonly sizeBytes: number;
}

interface Manifest {
  readonly Files: readonly { readonly Size: number }[];
  readonly "WAL-Ranges": readonly {
    readonly Timeline: number;
    readonly "Start-LSN": string;
    readonly "End-LSN": string;
  }[];
}

/** @throws BackupCorruptError when it is not a manifest. */
export const readManifest = async (path: string): Promise<ManifestFacts> => {
  try {
    const manifest = JSON.parse(await readFile(path, "utf8")) as Manifest;
    const ranges = manifest["WAL-Ranges"];
    const first = ranges[0];
    const last = ranges.at(-1);
    if (first === undefined || last === undefined) throw new TypeError("it names no log");
    return {
      timeline: last.Timeline,
      startLsn: first["Start-LSN"],
      stopLsn: last["End-LSN"],
      sizeBytes: manifest.Files.reduce((sum, { Size }) => sum + Size, 0),
    };
  } catch (cause) {
    throw new BackupCorruptError(path, ["its manifest cannot be read"], { cause });
  }
};
