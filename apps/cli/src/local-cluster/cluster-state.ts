import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { UsageError } from "../terminal/problem.ts";
import type { Layout } from "./layout.ts";
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

/** Undefined when no cluster was started there. @throws UsageError when the file is damaged. */
export const readState = async (directory: string): Promise<ClusterState | undefined> => {
  let text: string;
  try {
    text = await readFile(fileIn(directory), "utf8");
  } catch {
    return undefined;
  }
  try {
    const state = JSON.parse(text) as ClusterState;
    if (state.version === 1 && Array.isArray(state.layout.nodes)) return state;
  } catch {
    // As good as the wrong version: the message says what to do.
  }
  throw new UsageError(`${fileIn(directory)} cannot be read: delete ${directory} and start anew`);
};

export const writeState = async (state: ClusterState): Promise<void> => {
  const file = fileIn(state.layout.directory);
  await mkdir(dirname(file), { recursive: true });
  // It holds passwords of the replication, which nobody else needs.
  await writeFile(`${file}.new`, JSON.stringify(state, undefined, 2), { mode: 0o600 });
  await rename(`${file}.new`, file);
};
