import type { DatacenterView, WorkerView } from "@holdfast/protocol/contract";
import { Command } from "commander";
import { formatAge, formatCount, formatDuration } from "../terminal/format.ts";
import type { Session } from "../terminal/session.ts";
import { renderTable } from "../terminal/table.ts";
import { type ClientFlags, withClient, withClientFlags } from "./client-command.ts";
import type { ExitCode } from "./exit-code.ts";

const healthFormat = (health: string): "green" | "yellow" | "red" =>
  health === "healthy" || health === "active"
    ? "green"
    : health === "unhealthy" || health === "offline"
      ? "red"
      : "yellow";

/** Of one that does not answer, the rest of its row is what it said then. */
const lastHeard = ({ managers, heardAt }: DatacenterView, wallNow: number): string => {
  if (heardAt !== undefined) return formatAge(wallNow - heardAt);
  return managers.some(({ state }) => state !== "offline" && state !== "syncing") ? "now" : "never";
};

export const pingCommand = (session: Session, exit: ExitCode): Command =>
  withClientFlags(new Command("ping"))
    .description("ask every configured gate whether it answers")
    .action(async (flags: ClientFlags) => {
      const answers = await withClient(session, flags, (client) => client.ping({ signal: session.signal }));
      if (flags.json) session.printJson({ answers });
      else {
        session.print(
          renderTable(
            answers,
            [
              { title: "address", value: (answer) => answer.address },
              { title: "node", value: (answer) => answer.nodeId ?? "-" },
              { title: "role", value: (answer) => answer.role ?? "-" },
              {
                title: "state",
                value: (answer) => answer.state ?? session.style("red", answer.error?.message ?? "no answer"),
                maxWidth: 80,
              },
              { title: "leader", value: (answer) => (answer.isLeader ? "yes" : "-") },
              { title: "version", value: (answer) => answer.version ?? "-" },
              {
                title: "round trip",
                value: (answer) =>
                  answer.roundTripMs === undefined ? "-" : formatDuration(answer.roundTripMs),
                align: "right",
              },
            ],
            session.style,
          ),
        );
      }
      exit.code = answers.every((answer) => answer.error === undefined) ? 0 : 1;
    });

export const datacentersCommand = (session: Session): Command =>
  withClientFlags(new Command("datacenters"))
    .description("list the datacenters, their health and leaders")
    .action(async (flags: ClientFlags) => {
      const cluster = await withClient(session, flags, (client) =>
        client.cluster({ signal: session.signal }),
      );
      if (flags.json) return session.printJson({ datacenters: cluster.datacenters });
      if (cluster.datacenters.length === 0)
        return session.print("this gate knows no datacenter: start it with --datacenter NAME=host:port");
      session.print(
        renderTable<DatacenterView>(
          cluster.datacenters,
          [
            { title: "datacenter", value: (dc) => dc.datacenter },
            { title: "health", value: (dc) => session.style(healthFormat(dc.health), dc.health) },
            { title: "heard", value: (dc) => lastHeard(dc, session.clock.wallNow()) },
            { title: "leader", value: (dc) => dc.leader?.nodeId ?? "-" },
            { title: "fence", value: (dc) => dc.leader?.fence ?? "-", align: "right" },
            { title: "managers", value: (dc) => String(dc.managers.length), align: "right" },
            { title: "workers", value: (dc) => String(dc.workers.length), align: "right" },
            { title: "cores free", value: (dc) => `${dc.availableCores}/${dc.totalCores}`, align: "right" },
            { title: "active jobs", value: (dc) => formatCount(dc.activeJobs), align: "right" },
            { title: "waiting shards", value: (dc) => formatCount(dc.pendingTasks), align: "right" },
          ],
          session.style,
        ),
      );
    });

export const workersCommand = (session: Session): Command =>
  withClientFlags(new Command("workers"))
    .description("list the workers and the workflows that they offer")
    .action(async (flags: ClientFlags) => {
      const cluster = await withClient(session, flags, (client) =>
        client.cluster({ signal: session.signal }),
      );
      const workers = cluster.datacenters.flatMap((dc) => dc.workers);
      if (flags.json) return session.printJson({ workers });
      if (workers.length === 0)
        return session.print("no worker is connected: start one with 'holdfast worker --workflows FILE'");
      session.print(
        renderTable<WorkerView>(
          workers,
          [
            { title: "worker", value: (worker) => worker.nodeId },
            { title: "datacenter", value: (worker) => worker.datacenter },
            { title: "state", value: (worker) => session.style(healthFormat(worker.state), worker.state) },
            { title: "cores busy", value: (worker) => `${worker.busyCores}/${worker.cores}`, align: "right" },
            { title: "done", value: (worker) => formatCount(worker.completedShards), align: "right" },
            { title: "failed", value: (worker) => formatCount(worker.failedShards), align: "right" },
            { title: "pid", value: (worker) => String(worker.pid), align: "right" },
            {
              title: "started",
              value: (worker) => formatAge(session.clock.wallNow() - worker.startedAt),
              align: "right",
            },
            { title: "workflows", value: (worker) => worker.workflows.join(", "), maxWidth: 60 },
          ],
          session.style,
        ),
      );
    });

interface LeaderRow {
  readonly what: string;
  readonly nodeId: string;
  readonly address: string;
  readonly fence: string;
}

export const leadersCommand = (session: Session): Command =>
  withClientFlags(new Command("leaders"))
    .description("show who leads what, under which fence")
    .action(async (flags: ClientFlags) => {
      const cluster = await withClient(session, flags, (client) =>
        client.cluster({ signal: session.signal }),
      );
      const gate = cluster.gates.find((candidate) => candidate.isLeader);
      const leaders: LeaderRow[] = [
        ...(gate === undefined
          ? []
          : [{ what: "gates", nodeId: gate.nodeId, address: gate.address, fence: gate.fence ?? "-" }]),
        ...cluster.datacenters.flatMap((dc) =>
          dc.leader === undefined ? [] : [{ what: `datacenter ${dc.datacenter}`, ...dc.leader }],
        ),
      ];
      if (flags.json) return session.printJson({ leaders });
      if (leaders.length === 0) return session.print("nobody leads yet: elections take a few seconds");
      session.print(
        renderTable<LeaderRow>(
          leaders,
          [
            { title: "leads", value: (row) => row.what },
            { title: "node", value: (row) => row.nodeId },
            { title: "address", value: (row) => row.address },
            { title: "fence", value: (row) => row.fence, align: "right" },
          ],
          session.style,
        ),
      );
    });
