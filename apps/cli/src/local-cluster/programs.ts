import { execFileSync } from "node:child_process";
import { accessSync, constants, readdirSync } from "node:fs";
import { userInfo } from "node:os";
import { delimiter, join } from "node:path";
import { UsageError } from "../terminal/problem.ts";

const isExecutable = (path: string): boolean => {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
};

/** Where servers are installed that are not always on an ordinary user's PATH. */
const USUAL_PLACES = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/opt/homebrew/bin"];

const find = (name: string, path: string | undefined): string | undefined =>
  [...(path ?? "").split(delimiter).filter(Boolean), ...USUAL_PLACES]
    .map((place) => join(place, name))
    .find(isExecutable);

/** The directory of the newest PostgreSQL server, by the layouts of Debian and Homebrew; then the PATH. */
const findPostgres = (path: string | undefined): string | undefined => {
  const versions: { readonly major: number; readonly bin: string }[] = [];
  for (const root of ["/usr/lib/postgresql", "/opt/homebrew/opt"]) {
    let entries: string[] = [];
    try {
      entries = readdirSync(root);
    } catch {
      continue;
    }
    for (const entry of entries) {
      const major = Number(/^(?:postgresql@)?(\d+)$/.exec(entry)?.[1]);
      const bin = join(root, entry, "bin");
      if (major >= 15 && isExecutable(join(bin, "initdb"))) versions.push({ major, bin });
    }
  }
  const newest = versions.sort((a, b) => b.major - a.major)[0]?.bin;
  return newest ?? find("initdb", path)?.replace(/\/initdb$/, "");
};

export interface Programs {
  readonly postgresBin: string;
  readonly patroni: string;
  readonly etcd: string;
  readonly haproxy: string;
  readonly redis: string;
}

/** @throws UsageError naming everything that is missing, with the command that installs it on Debian. */
export const findPrograms = (path: string | undefined): Programs => {
  const found = {
    postgresBin: findPostgres(path),
    patroni: find("patroni", path),
    etcd: find("etcd", path),
    haproxy: find("haproxy", path),
    redis: find("redis-server", path),
  };
  const packages: Readonly<Record<keyof Programs, string>> = {
    postgresBin: "postgresql",
    patroni: "patroni",
    etcd: "etcd-server",
    haproxy: "haproxy",
    redis: "redis-server",
  };
  const missing = (Object.keys(packages) as (keyof Programs)[]).filter((name) => found[name] === undefined);
  if (missing.length > 0) {
    const wanted = missing.map((name) => packages[name]).join(" ");
    throw new UsageError(`a local cluster needs ${wanted}: apt-get install ${wanted}`);
  }
  return found as Programs;
};

/** Who runs the servers. */
export interface ServerUser {
  readonly name: string;
  readonly uid: number | undefined;
  readonly gid: number | undefined;
}

/** PostgreSQL refuses to run as root: then it is `postgres`, else whoever we are. @throws UsageError when there is no such user. */
export const serverUser = (): ServerUser => {
  if (process.getuid?.() !== 0) return { name: userInfo().username, uid: undefined, gid: undefined };
  const idOf = (flag: "-u" | "-g"): number =>
    Number(execFileSync("id", [flag, "postgres"], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }));
  try {
    return { name: "postgres", uid: idOf("-u"), gid: idOf("-g") };
  } catch {
    throw new UsageError(
      "PostgreSQL does not run as root, and there is no user postgres: run this as another user",
    );
  }
};
