import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { systemRandom } from "@holdfast/kernel";
import { Command, Option } from "commander";
import { duration, wholeNumber } from "../flags.ts";
import type { ClusterState } from "../local-cluster/cluster-state.ts";
import { down, kill, patroniUrls, requireState, serversOf, up } from "../local-cluster/local-cluster.ts";
import type { Session } from "../terminal/session.ts";
import { renderTable } from "../terminal/table.ts";
import { openHa, printStatus } from "./ha-status.ts";

interface DirectoryFlag {
  readonly dir?: string;
  readonly json?: boolean;
}

/** PostgreSQL does not run as root; the user that it runs as then must be able to enter the directory. */
export const localClusterDirectory = (session: Session, flags: DirectoryFlag): string =>
  flags.dir !== undefined
    ? resolve(session.cwd, flags.dir)
    : process.getuid?.() === 0
      ? join(tmpdir(), "holdfast-cluster")
      : resolve(session.cwd, ".holdfast/cluster");

const withDirectory = (command: Command): Command =>
  command
    .option(
      "--dir <dir>",
      "where the cluster lives (default .holdfast/cluster; as root below the system's temporary directory)",
    )
    .option("--json", "print one JSON document");

const addressesOf = ({ layout }: ClusterState) => ({
  write: `postgres://postgres@127.0.0.1:${layout.writePort}/postgres`,
  read: `postgres://postgres@127.0.0.1:${layout.readPort}/postgres`,
  patroni: patroniUrls(layout),
  redis: `redis://127.0.0.1:${layout.redisPort}`,
  proxyStatistics: `http://127.0.0.1:${layout.statsPort}`,
  directory: layout.directory,
});

/** `holdfast cluster`: a real replicated PostgreSQL on this machine, to try failover on. */
export const localClusterCommand = (session: Session): Command =>
  new Command("cluster")
    .description("a local cluster for trying and testing: etcd, PostgreSQL under Patroni, HAProxy, Redis")
    .addCommand(upCommand(session))
    .addCommand(statusCommand(session))
    .addCommand(killCommand(session))
    .addCommand(downCommand(session));

const upCommand = (session: Session): Command =>
  withDirectory(new Command("up"))
    .description("start it, or what has ended of it; on loopback, without passwords")
    .addOption(
      new Option("--port <n>", "first of 30 ports; 0 takes free ones")
        .default(6400)
        .argParser(wholeNumber("--port", 0, 65_000)),
    )
    .addOption(new Option("--nodes <n>", "database nodes").default(3).argParser(wholeNumber("--nodes", 1, 9)))
    .option(
      "--async",
      "acknowledge commits before a replica has them: faster, and a failover may lose the last ones",
    )
    .addOption(
      new Option("--wait <time>", "how long the start may take")
        .default(90_000, "90s")
        .argParser(duration("--wait")),
    )
    .action(async (flags: DirectoryFlag & { port: number; nodes: number; async?: boolean; wait: number }) => {
      const startedAt = session.clock.monotonicNow();
      const state = await up(
        {
          directory: localClusterDirectory(session, flags),
          port: flags.port,
          nodeCount: flags.nodes,
          isSynchronous: flags.async !== true,
          timeoutMs: flags.wait,
        },
        { clock: session.clock, random: systemRandom, signal: session.signal, path: session.env.PATH },
      );
      const addresses = addressesOf(state);
      const readyMs = Math.round(session.clock.monotonicNow() - startedAt);
      if (flags.json)
        return session.printJson({ event: "ready", readyMs, ...addresses, servers: serversOf(state) });
      session.print(`write to    ${addresses.write}`);
      session.print(`read from   ${addresses.read}`);
      session.print(`Patroni     ${addresses.patroni.join(" ")}`);
      session.print(`Redis       ${addresses.redis}`);
      session.print(`HAProxy     ${addresses.proxyStatistics}`);
      session.print(
        session.style("dim", "holdfast cluster status | kill n1 | up | down; holdfast ha switchover"),
      );
    });

const statusCommand = (session: Session): Command =>
  withDirectory(new Command("status"))
    .description("show its servers, roles, timeline and lag")
    .action(async (flags: DirectoryFlag) => {
      const state = await requireState(localClusterDirectory(session, flags));
      const servers = serversOf(state);
      const addresses = addressesOf(state);
      const database = await openHa(session, {
        patroni: addresses.patroni,
        url: addresses.write,
        needsPrimary: false,
      });
      try {
        const status = await database?.refresh();
        if (flags.json) return session.printJson({ servers, ...addresses, database: status ?? null });
        session.print(
          renderTable(
            servers,
            [
              { title: "server", value: ({ name }) => name },
              {
                title: "process",
                value: ({ pid }) => (pid === undefined ? session.style("red", "ended") : String(pid)),
              },
            ],
            session.style,
          ),
        );
        if (status === undefined) session.print("the database has no primary that answers");
        else printStatus(session, status);
      } finally {
        await database?.close({ graceMs: 0 });
      }
    });

const killCommand = (session: Session): Command =>
  withDirectory(new Command("kill"))
    .description(
      "take a server down the hard way (kill -9): n1, n2, n3, etcd, haproxy, redis; 'up' starts it again",
    )
    .argument("<node>")
    .action(async (node: string, flags: DirectoryFlag) => {
      const state = await requireState(localClusterDirectory(session, flags));
      const pids = await kill(state, node);
      if (flags.json) session.printJson({ killed: node, pids });
      else
        session.print(`killed ${node} (${pids.length === 1 ? "process" : "processes"} ${pids.join(", ")})`);
    });

const downCommand = (session: Session): Command =>
  withDirectory(new Command("down"))
    .description("stop everything and delete its data")
    .option("--keep", "keep the data for the next 'up'")
    .action(async (flags: DirectoryFlag & { keep?: boolean }) => {
      const state = await requireState(localClusterDirectory(session, flags));
      await down(state, { keep: flags.keep === true }, { clock: session.clock });
      if (flags.json) session.printJson({ stopped: true, kept: flags.keep === true });
      else session.print(flags.keep === true ? "stopped; the data is kept" : "stopped, and the data deleted");
    });
