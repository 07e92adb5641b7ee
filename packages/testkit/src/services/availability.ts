import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { ServiceUnavailableError } from "../errors.ts";
import { findPostgresBin, findProgram } from "../process/find-program.ts";
import { smallDiskUnavailable } from "../process/small-disk.ts";

export const SERVICES = [
  "postgres",
  "pgvector",
  "citus",
  "redis",
  "etcd",
  "haproxy",
  "patroni",
  "pgbackrest",
  "chromium",
  "small-disk",
] as const;

/**
 * What `serviceUnavailable` can be asked about. `redis` covers Cluster and Sentinel; `patroni` covers all that it needs;
 * `small-disk` is the right to mount one, to be filled.
 */
export type ServiceName = (typeof SERVICES)[number];

const HOW = "run scripts/services to install it";

/**
 * Where PostgreSQL keeps the control file of an extension, or undefined when it is not installed.
 * @param version The server's major version; default as in `startPostgres`.
 */
export const findPostgresExtension = (name: string, version?: number): string | undefined => {
  const bin = findPostgresBin(version);
  if (bin === undefined) return undefined;
  let share: string;
  try {
    share = execFileSync(join(bin, "pg_config"), ["--sharedir"], { encoding: "utf8" }).trim();
  } catch {
    return undefined;
  }
  const control = join(share, "extension", `${name}.control`);
  return existsSync(control) ? control : undefined;
};

const program = (title: string, ...names: readonly string[]): string | undefined =>
  findProgram(...names) === undefined ? `${title} was not found (${names.join(", ")}): ${HOW}` : undefined;

const extension = (title: string, name: string): string | undefined =>
  find.postgres() ??
  (findPostgresExtension(name) === undefined ? `${title} is not installed in PostgreSQL` : undefined);

const find: { readonly [Name in ServiceName]: () => string | undefined } = {
  postgres: () =>
    findPostgresBin() === undefined ? `PostgreSQL 15 or newer was not found: ${HOW}` : undefined,
  pgvector: () => {
    const reason = extension("pgvector", "vector");
    return reason?.startsWith("pgvector") ? `${reason}: ${HOW}` : reason;
  },
  citus: () => {
    const reason = extension("Citus", "citus");
    return reason?.startsWith("Citus") ? `${reason} (Debian does not package it)` : reason;
  },
  redis: () => program("Redis", "redis-server", "valkey-server"),
  etcd: () => program("etcd", "etcd"),
  haproxy: () => program("HAProxy", "haproxy"),
  patroni: () => find.postgres() ?? find.etcd() ?? find.haproxy() ?? program("Patroni", "patroni"),
  pgbackrest: () => find.postgres() ?? program("pgBackRest", "pgbackrest"),
  chromium: () =>
    program("Chromium", "chromium", "chromium-headless-shell", "chromium-browser", "google-chrome"),
  "small-disk": smallDiskUnavailable,
};

/**
 * Why this service cannot be started here, or undefined when it can. Looks at files only; starts nothing. (Whether a
 * disk may be mounted shows only in mounting one, which is done once.)
 */
export const serviceUnavailable = (name: ServiceName): string | undefined => find[name]();

/** @throws ServiceUnavailableError with the reason of {@link serviceUnavailable}. */
export const requireService = (name: ServiceName): void => {
  const reason = serviceUnavailable(name);
  if (reason !== undefined) throw new ServiceUnavailableError(reason);
};

/**
 * The path of a Chromium that a browser driver can launch.
 * @throws ServiceUnavailableError when there is none.
 */
export const chromiumPath = (): string => {
  const path = findProgram("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome");
  if (path === undefined) throw new ServiceUnavailableError(`Chromium was not found: ${HOW}`);
  return path;
};
