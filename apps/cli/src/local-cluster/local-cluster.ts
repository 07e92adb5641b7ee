import { accessSync, constants, statSync } from "node:fs";
import { chmod, chown, lstat, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { haproxyConfig, makePatroniPrograms, PatroniClient } from "@holdfast/data";
import { type Clock, type Random, randomHex } from "@holdfast/kernel";
import { UsageError } from "../terminal/problem.ts";
import { type ClusterState, readState, refuseForeignDirectory, writeState } from "./cluster-state.ts";
import { chooseLayout, type DatabaseNode, type Layout } from "./layout.ts";
import { findPrograms, type Programs, type ServerUser, serverUser } from "./programs.ts";
import { etcdArguments, patroniConfig, redisArguments } from "./server-configs.ts";
import {
  end,
  identify,
  isRunning,
  ownerOf,
  type ProcessId,
  signal,
  startServer,
} from "./server-processes.ts";

export interface UpOptions {
  readonly directory: string;
  /** 0: free ones. */
  readonly port: number;
  readonly nodeCount: number;
  readonly isSynchronous: boolean;
  readonly timeoutMs: number;
}

/** What a server of the cluster is doing, as far as its process tells. */
export interface ServerState {
  readonly name: string;
  readonly pid: number | undefined;
  readonly isRunning: boolean;
}

interface Tools {
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
  readonly path: string | undefined;
}

const POLL_MS = 100;
const STOP_TIMEOUT_MS = 10_000;

/** Starts a cluster, or what has ended of one that is there. Returns when it has a leader and every replica streams. */
export const up = async (options: UpOptions, tools: Tools): Promise<ClusterState> => {
  const found = findPrograms(tools.path);
  const user = serverUser();
  const known = await readState(options.directory);
  const layout = known?.layout ?? (await chooseLayout({ ...options, random: tools.random }));
  await prepareDirectory(layout, user);
  const directoryOfPrograms = join(layout.directory, "postgres-programs");
  const postgresBin = await makePatroniPrograms({ ...found, directory: directoryOfPrograms });
  const programs = { ...found, postgresBin };
  const passwords = known?.passwords ?? {
    replication: randomHex(tools.random, 16),
    rewind: randomHex(tools.random, 16),
  };
  const isSynchronous = known?.isSynchronous ?? options.isSynchronous;
  let state: ClusterState = {
    version: 1,
    layout,
    isSynchronous,
    passwords,
    processes: known?.processes ?? {},
  };
  const start = async (name: string, launch: () => Promise<ProcessId>): Promise<void> => {
    const running = state.processes[name];
    if (running !== undefined && isRunning(running)) return;
    state = { ...state, processes: { ...state.processes, [name]: await launch() } };
    // After each one, so that `down` finds whatever a failed start leaves behind.
    await writeState(state);
  };
  await writeState(state);
  const { directory } = layout;
  const run = (name: string, command: string, args: readonly string[], cwd = directory): Promise<void> =>
    start(name, () => startServer(command, args, { logFile: join(directory, `${name}.log`), cwd, user }));
  await run("etcd", programs.etcd, etcdArguments(layout));
  for (const node of layout.nodes) {
    const config = await writePatroniConfig(layout, node, { programs, passwords, isSynchronous, user });
    await run(node.name, programs.patroni, [config], node.directory);
  }
  await writeFile(
    join(directory, "haproxy.cfg"),
    haproxyConfig({ ...layout, nodes: layout.nodes.map((node) => ({ ...node, host: "127.0.0.1" })) }),
  );
  await run("haproxy", programs.haproxy, ["-db", "-f", join(directory, "haproxy.cfg")]);
  await run("redis", programs.redis, redisArguments(layout), join(directory, "redis"));
  await untilHealthy(state, options.timeoutMs, tools);
  return state;
};

/** @throws UsageError when there is no cluster. */
export const requireState = async (directory: string): Promise<ClusterState> => {
  const state = await readState(directory);
  if (state !== undefined) return state;
  throw new UsageError(`no cluster was started in ${directory}: start one with 'holdfast cluster up'`);
};

export const serversOf = (state: ClusterState): readonly ServerState[] =>
  Object.entries(state.processes).map(([name, id]) => ({
    name,
    pid: isRunning(id) ? id.pid : undefined,
    isRunning: isRunning(id),
  }));

/**
 * Takes a server down the hard way: a database node with its Patroni and its PostgreSQL, as a lost machine would be.
 * @returns the process ids that were killed.
 * @throws UsageError when there is no such server, or it does not run.
 */
export const kill = async (state: ClusterState, name: string): Promise<readonly number[]> => {
  const id = state.processes[name];
  if (id === undefined) {
    throw new UsageError(
      `there is no server ${name}: it is one of ${Object.keys(state.processes).join(", ")}`,
    );
  }
  const node = state.layout.nodes.find((each) => each.name === name);
  const postmaster = node === undefined ? undefined : await postmasterOf(node);
  const killed = [id, ...(postmaster === undefined ? [] : [postmaster])].filter((each) =>
    signal(each, "SIGKILL"),
  );
  if (killed.length === 0)
    throw new UsageError(`${name} does not run: 'holdfast cluster up' starts it again`);
  return killed.map(({ pid }) => pid);
};

/** Stops everything and, unless it is to be kept, deletes the data. */
export const down = async (
  state: ClusterState,
  options: { readonly keep: boolean },
  { clock }: Pick<Tools, "clock">,
): Promise<void> => {
  const { layout, processes } = state;
  // Patroni would start its PostgreSQL again, so it goes first; what it was just starting is found afterwards.
  const stop = (name: string): Promise<void> | undefined => {
    const id = processes[name];
    return id === undefined ? undefined : end(id, { clock, timeoutMs: STOP_TIMEOUT_MS });
  };
  await Promise.all([...layout.nodes.map(({ name }) => stop(name)), stop("haproxy"), stop("redis")]);
  for (const node of layout.nodes) {
    const postmaster = await postmasterOf(node);
    if (postmaster !== undefined)
      await end(postmaster, { clock, timeoutMs: STOP_TIMEOUT_MS, politely: "SIGINT" });
  }
  await stop("etcd");
  if (options.keep) await writeState({ ...state, processes: {} });
  else await rm(layout.directory, { recursive: true, force: true });
};

const postmasterOf = async (node: DatabaseNode): Promise<ProcessId | undefined> => {
  const file = join(node.directory, "data/postmaster.pid");
  try {
    const [line] = (await readFile(file, "utf8")).split("\n");
    const id = identify(Number(line));
    // Its writer, who need not be us, may name no process but its own.
    const isOwn = ownerOf(id.pid) === undefined || ownerOf(id.pid) === (await lstat(file)).uid;
    return Number.isInteger(id.pid) && id.pid > 1 && isOwn && isRunning(id) ? id : undefined;
  } catch {
    return undefined;
  }
};

const prepareDirectory = async (layout: Layout, user: ServerUser): Promise<void> => {
  const directories = [
    layout.directory,
    join(layout.directory, "redis"),
    ...layout.nodes.map((node) => node.directory),
  ];
  for (const directory of directories) {
    await mkdir(directory, { recursive: true });
    // Somebody may have made it a moment ago.
    await refuseForeignDirectory(directory);
    await chmod(directory, 0o700);
    if (user.uid !== undefined && user.gid !== undefined) await chown(directory, user.uid, user.gid);
  }
  refuseUnreachable(layout.directory, user);
};

/** Each directory above must let the servers' user pass. */
const refuseUnreachable = (directory: string, user: ServerUser): void => {
  if (user.uid === undefined) {
    accessSync(directory, constants.W_OK);
    return;
  }
  for (let above = dirname(directory); above !== dirname(above); above = dirname(above)) {
    if ((statSync(above).mode & 0o001) === 0 && statSync(above).uid !== user.uid) {
      throw new UsageError(
        `user ${user.name}, who runs the servers, cannot enter ${above}: choose another --dir`,
      );
    }
  }
};

const writePatroniConfig = async (
  layout: Layout,
  node: DatabaseNode,
  options: Parameters<typeof patroniConfig>[2] & { readonly programs: Programs; readonly user: ServerUser },
): Promise<string> => {
  const file = join(node.directory, "patroni.json");
  await writeFile(file, JSON.stringify(patroniConfig(layout, node, options), undefined, 2), { mode: 0o600 });
  const { uid, gid } = options.user;
  if (uid !== undefined && gid !== undefined) await chown(file, uid, gid);
  return file;
};

export const patroniUrls = ({ nodes }: Layout): readonly string[] =>
  nodes.map(({ restPort }) => `http://127.0.0.1:${restPort}`);

/** By Patroni's own word: one leader, and all others follow it. */
const untilHealthy = async (
  state: ClusterState,
  timeoutMs: number,
  { clock, signal: stop }: Tools,
): Promise<void> => {
  const clients = patroniUrls(state.layout).map((url) => new PatroniClient({ url, clock, timeoutMs: 1_000 }));
  const giveUpAt = clock.monotonicNow() + timeoutMs;
  const isHealthy = async (): Promise<boolean> => {
    const checks = await Promise.all(
      clients.map(
        async (client) => [await client.check("/primary"), await client.check("/replica")] as const,
      ),
    );
    const leaders = checks.filter(([primary]) => primary === 200).length;
    const replicas = checks.filter(([, replica]) => replica === 200).length;
    return leaders === 1 && leaders + replicas === clients.length;
  };
  while (!(await isHealthy().catch(() => false))) {
    stop.throwIfAborted();
    const ended = serversOf(state).find((server) => !server.isRunning);
    const problem = ended === undefined ? `it is not healthy after ${timeoutMs} ms` : `${ended.name} ended`;
    if (ended !== undefined || clock.monotonicNow() >= giveUpAt) {
      throw new Error(`the cluster did not start: ${problem}; look into ${state.layout.directory}/*.log`);
    }
    await clock.sleep(POLL_MS, { signal: stop });
  }
};
