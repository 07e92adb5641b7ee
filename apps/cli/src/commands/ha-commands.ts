import { type ClusterDatabase, formatLsn, type TimelineSwitch } from "@holdfast/data";
import { Command } from "commander";
import { duration, nameList } from "../flags.ts";
import { readState } from "../local-cluster/cluster-state.ts";
import { patroniUrls } from "../local-cluster/local-cluster.ts";
import { formatDuration } from "../terminal/format.ts";
import { UsageError } from "../terminal/problem.ts";
import type { Session } from "../terminal/session.ts";
import { renderTable } from "../terminal/table.ts";
import { backupCommands } from "./backup-commands.ts";
import type { ExitCode } from "./exit-code.ts";
import { openHa, printStatus } from "./ha-status.ts";
import { localClusterDirectory } from "./local-cluster-commands.ts";

interface HaFlags {
  readonly patroni?: string[];
  readonly database?: string;
  readonly dir?: string;
  readonly json?: boolean;
}

const withHaFlags = (command: Command): Command =>
  command
    .option("--patroni <url,...>", "REST addresses of the members (HOLDFAST_PATRONI)", nameList("--patroni"))
    .option(
      "--database <url>",
      "user, password and database; several hosts where there is no Patroni (HOLDFAST_DATABASE)",
    )
    .option("--dir <dir>", "a local cluster of 'holdfast cluster up'; the default when nothing else is named")
    .option("--json", "print one JSON document");

/** Where the cluster is: by flag, by environment, or the local one. */
const whereIs = async (
  session: Session,
  flags: HaFlags,
): Promise<{ readonly url: string; readonly patroni: readonly string[] }> => {
  const fromEnvironment = session.env.HOLDFAST_PATRONI;
  const patroni =
    flags.patroni ?? (fromEnvironment === undefined ? [] : nameList("HOLDFAST_PATRONI")(fromEnvironment));
  const url = flags.database ?? session.env.HOLDFAST_DATABASE;
  if (patroni.length > 0 || url !== undefined) {
    return { url: url ?? "postgres://postgres@127.0.0.1/postgres", patroni };
  }
  const state = await readState(localClusterDirectory(session, flags));
  if (state === undefined) {
    throw new UsageError(
      "which cluster? Name it with --patroni http://host:8008,… or --database postgres://host1,host2/name, or start one with 'holdfast cluster up'",
    );
  }
  return {
    url: `postgres://postgres@127.0.0.1:${state.layout.writePort}/postgres`,
    patroni: patroniUrls(state.layout),
  };
};

const withCluster = async (
  session: Session,
  flags: HaFlags & { readonly needsPrimary?: boolean },
  body: (database: ClusterDatabase) => Promise<void>,
): Promise<void> => {
  const needsPrimary = flags.needsPrimary ?? false;
  const database = await openHa(session, { ...(await whereIs(session, flags)), needsPrimary });
  try {
    await body(database);
  } finally {
    await database.close({ graceMs: 0 });
  }
};

/** `holdfast ha`: the database's high availability. */
export const haCommand = (session: Session, exit: ExitCode): Command =>
  withBackups(session, exit, new Command("ha"))
    .description("the database's high availability: who is primary, who follows, hand over, what happened")
    .addCommand(statusCommand(session, exit))
    .addCommand(switchoverCommand(session))
    .addCommand(historyCommand(session));

const withBackups = (session: Session, exit: ExitCode, command: Command): Command => {
  for (const each of backupCommands(session, exit)) command.addCommand(each);
  return command;
};

const statusCommand = (session: Session, exit: ExitCode): Command =>
  withHaFlags(new Command("status"))
    .description("show nodes, roles, timeline, lag; ends with 1 when nothing can be written")
    .action((flags: HaFlags) =>
      withCluster(session, flags, async (database) => {
        const status = await database.refresh();
        if (flags.json) session.printJson(status);
        else printStatus(session, status);
        exit.code = status.condition.takesWrites ? 0 : 1;
      }),
    );

const switchoverCommand = (session: Session): Command =>
  withHaFlags(new Command("switchover"))
    .description("make another node the primary, in an orderly way; needs Patroni")
    .option("--candidate <node>", "who shall lead (default: the replica that Patroni prefers)")
    .option(
      "--pause-max <time>",
      "how long the primary may be away before this command gives up",
      duration("--pause-max"),
    )
    .action((flags: HaFlags & { candidate?: string; pauseMax?: number }) =>
      withCluster(session, { ...flags, needsPrimary: true }, async (database) => {
        const report = await database.switchover({
          candidate: flags.candidate,
          pauseMaxMs: flags.pauseMax,
          signal: session.signal,
        });
        if (flags.json) session.printJson(report);
        else {
          session.print(
            `${report.to} leads, ${report.from} follows: timeline ${report.timeline}, no writes for ${formatDuration(report.pausedMs)}`,
          );
        }
      }),
    );

const historyCommand = (session: Session): Command =>
  withHaFlags(new Command("history"))
    .description("list every promotion on record, oldest first")
    .action((flags: HaFlags) =>
      withCluster(session, flags, async (database) => {
        const history = await database.history({ signal: session.signal });
        if (history.length === 0 && database.status().condition.kind === "down") {
          throw new Error("nothing of the cluster answers: check the addresses, and that a node runs");
        }
        if (flags.json) {
          session.printJson({
            history: history.map((each) => ({ ...each, forkLsn: formatLsn(each.forkLsn) })),
          });
          return;
        }
        if (history.length === 0) return session.print("no promotion yet: this is the first timeline");
        session.print(
          renderTable<TimelineSwitch>(
            history,
            [
              { title: "timeline", value: ({ timeline }) => `${timeline} → ${timeline + 1}` },
              { title: "ended at", value: ({ forkLsn }) => formatLsn(forkLsn), align: "right" },
              { title: "when", value: ({ at }) => (at === undefined ? "-" : new Date(at).toISOString()) },
              { title: "new leader", value: ({ leader }) => leader ?? "-" },
              { title: "reason", value: ({ reason }) => reason, maxWidth: 60 },
            ],
            session.style,
          ),
        );
      }),
    );
