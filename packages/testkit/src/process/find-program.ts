import { accessSync, constants, readdirSync } from "node:fs";
import { delimiter, join } from "node:path";

const isExecutable = (path: string): boolean => {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
};

/** Where Debian and Homebrew put servers that are not always on an ordinary user's PATH. */
const USUAL_PLACES = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/opt/homebrew/bin"];

/** The path of the first of these programs that is found, or undefined. */
export const findProgram = (...names: readonly string[]): string | undefined => {
  const places = [...(process.env["PATH"] ?? "").split(delimiter).filter(Boolean), ...USUAL_PLACES];
  for (const name of names) {
    for (const place of places) {
      const path = join(place, name);
      if (isExecutable(path)) return path;
    }
  }
  return undefined;
};

/** The server that speaks Redis: Redis itself, else Valkey. */
export const findRedisProgram = (): string | undefined => findProgram("redis-server", "valkey-server");

const VERSIONED_ROOTS = ["/usr/lib/postgresql", "/opt/homebrew/opt"];

/**
 * The directory that holds `postgres` and `initdb`, or undefined.
 * @param version The major version; default: 15 where it is there, else the newest that is found.
 */
export const findPostgresBin = (version?: number): string | undefined => {
  const found = new Map<number, string>();
  for (const root of VERSIONED_ROOTS) {
    let entries: string[] = [];
    try {
      entries = readdirSync(root);
    } catch {
      continue;
    }
    for (const entry of entries) {
      const major = Number(/^(?:postgresql@)?(\d+)$/.exec(entry)?.[1]);
      const bin = join(root, entry, "bin");
      if (major >= 15 && isExecutable(join(bin, "postgres")) && isExecutable(join(bin, "initdb"))) {
        found.set(major, bin);
      }
    }
  }
  if (version !== undefined) return found.get(version);
  return found.get(15) ?? [...found].sort(([a], [b]) => b - a)[0]?.[1];
};
