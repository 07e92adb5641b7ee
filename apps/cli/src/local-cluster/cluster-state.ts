import { constants } from "node:fs";
import { lstat, mkdir, open, realpath, rename, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { UsageError } from "../terminal/problem.ts";
import type { Layout } from "./layout.ts";
import { serverUser } from "./programs.ts";
import type { ReplicationPasswords } from "./server-configs.ts";
import type { ProcessId } from "./server-processes.ts";

/** What a later command has to know about a cluster that `up` started. */
export interface ClusterState {
  readonly version: 1;
  readonly layout: Layout;
  readonly isSynchronous: boolean;
  readonly passwords: ReplicationPasswords;
  /** By server: etcd, haproxy, redis, n1 (its Patroni) … */
  readonly processes: Readonly<Record<string, ProcessId>>;
}

const fileIn = (directory: string): string => join(directory, "cluster.json");

/** The rights of others on a file or directory: none may write to it. */
const OTHERS_MAY_WRITE = 0o022;

/** Whose files are trusted: our own, and those of the user that runs the servers for us. */
export interface TrustedUsers {
  /** Undefined where the system has no users. */
  readonly own: number | undefined;
  readonly servers: number | undefined;
}

const trustedUsers = (): TrustedUsers => {
  const own = process.getuid?.();
  try {
    return { own, servers: serverUser().uid };
  } catch {
    // Where nobody could run them, nobody else's files are of any use.
    return { own, servers: undefined };
  }
};

/**
 * A cluster's directory may lie where others may write, such as the system's temporary directory: one that somebody
 * else has made there is not ours to follow, fill or delete. One that is missing is fine.
 * @throws UsageError when it is no directory, another user's, or open to others.
 */
export const refuseForeignDirectory = async (
  directory: string,
  { own, servers }: TrustedUsers = trustedUsers(),
): Promise<void> => {
  let found = await lstat(directory).catch(() => undefined);
  if (found?.isSymbolicLink() && found.uid === own) found = await stat(directory).catch(() => undefined);
  if (found === undefined || own === undefined) return;
  if (!found.isDirectory()) throw new UsageError(`${directory} is not a directory: ${ANOTHER}`);
  if (found.uid !== own && found.uid !== servers) {
    throw new UsageError(`${directory} belongs to another user (${found.uid}): ${ANOTHER}`);
  }
  if (found.uid !== own && (found.mode & OTHERS_MAY_WRITE) !== 0) {
    throw new UsageError(`others may write to ${directory}: ${ANOTHER}`);
  }
};

const ANOTHER = "choose another one with --dir, or run this as the user who started the cluster";

/**
 * Undefined when no cluster was started there.
 * @throws UsageError when the file is damaged or another user's, or tells of another place than its own.
 */
export const readState = async (
  directory: string,
  users: TrustedUsers = trustedUsers(),
): Promise<ClusterState | undefined> => {
  await refuseForeignDirectory(directory, users);
  const file = fileIn(directory);
  let text: string;
  try {
    await using handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW);
    const { uid } = await handle.stat();
    if (users.own !== undefined && uid !== users.own) {
      throw new UsageError(`${file} belongs to another user (${uid}): ${ANOTHER}`);
    }
    text = await handle.readFile("utf8");
  } catch (error) {
    if (error instanceof UsageError) throw error;
    return undefined;
  }
  try {
    const state = JSON.parse(text) as ClusterState;
    if (state.version === 1 && Array.isArray(state.layout.nodes) && (await isAt(state.layout, directory))) {
      return state;
    }
  } catch {
    // As good as the wrong version: the message says what to do.
  }
  throw new UsageError(`${file} cannot be used: delete ${directory} and start anew`);
};

/** Whether everything lies below the directory that holds the state: that is what `down` deletes. */
const isAt = async ({ directory: told, nodes }: Layout, directory: string): Promise<boolean> =>
  (await realpath(told)) === (await realpath(directory)) &&
  nodes.every((node) => /^n\d+$/.test(node.name) && node.directory === join(told, node.name));

export const writeState = async (state: ClusterState): Promise<void> => {
  const file = fileIn(state.layout.directory);
  await mkdir(dirname(file), { recursive: true });
  // It holds passwords of the replication, which nobody else needs.
  await writeFile(`${file}.new`, JSON.stringify(state, undefined, 2), { mode: 0o600 });
  await rename(`${file}.new`, file);
};
