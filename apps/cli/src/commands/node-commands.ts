import { availableParallelism } from "node:os";
import { type DataSource, startConsole } from "@holdfast/console";
import type { Database } from "@holdfast/data";
import { createClient } from "@holdfast/jobs/client";
import { systemRandom } from "@holdfast/kernel";
import { Command, Option } from "commander";
import { parseAddresses } from "../addresses.ts";
import { nameList, wholeNumber } from "../flags.ts";
import { type CellContext, startGate, startManager, startWorker } from "../nodes/cell.ts";
import { type ConsoleDataFlags, openConsoleData, withConsoleDataFlags } from "../nodes/console-data.ts";
import { allowedOriginsOption } from "../nodes/console-origins.ts";
import { schemaFor } from "../nodes/datacenter-schema.ts";
import { createNodeLogger } from "../nodes/logger.ts";
import { openNodeDatabase } from "../nodes/node-database.ts";
import { type RateLimits, rateLimitsOption } from "../nodes/rate-limits.ts";
import { loadReporters } from "../nodes/reporter-module.ts";
import { RunningParts } from "../nodes/running.ts";
import { findWorkflowModule } from "../nodes/workflow-module.ts";
import { readNodeSecurity, type SecurityFlags } from "../security.ts";
import { UsageError } from "../terminal/problem.ts";
import type { Session } from "../terminal/session.ts";

interface NodeFlags extends SecurityFlags {
  readonly id?: string;
  readonly database?: string;
  readonly patroni?: string[];
  readonly shardJobs?: boolean;
  readonly json?: boolean;
}

const withStoreFlags = (command: Command): Command =>
  withNodeFlags(command).option(
    "--shard-jobs",
    "spread the table of jobs over the nodes of Citus; while no other node of this store runs, and once is enough",
  );

const withNodeFlags = (command: Command): Command =>
  command
    .option("--id <name>", "name of this node, unique in the cluster (default: made at start)")
    .option(
      "--database <url>",
      "postgres://user@host:port/name, or several hosts of one cluster (HOLDFAST_DATABASE)",
    )
    .option(
      "--patroni <url,...>",
      "REST addresses of the members: follow failovers of the database by them (HOLDFAST_PATRONI)",
      nameList("--patroni"),
    )
    .option("--tls-cert <file>", "certificate chain to present")
    .option("--tls-key <file>", "its private key")
    .option("--tls-ca <file>", "authority to trust when dialling other nodes")
    .option("--tokens <file>", "tokens that may connect, with their scopes")
    .option("--insecure", "listen beyond loopback without TLS and tokens")
    .option("--json", "print JSON lines, the first when ready");

/** Starts the parts, prints `ready`, and runs until stopped; what started before a failure is stopped again. */
const runNode = async (
  session: Session,
  flags: NodeFlags,
  listens: readonly string[],
  start: (context: CellContext) => Promise<Readonly<Record<string, unknown>>>,
): Promise<void> => {
  const parts = new RunningParts();
  try {
    const security = await readNodeSecurity(flags, listens, session.env);
    const logger = createNodeLogger(session, "info");
    const ready = await start({ clock: session.clock, logger, security, parts });
    if (flags.json) session.printJson({ event: "ready", ...ready });
    else
      session.print(
        `${session.style("green", "ready")} ${Object.entries(ready)
          .map(([name, value]) => `${name} ${String(value)}`)
          .join("  ")}`,
      );
    await parts.untilStopped(session);
  } catch (error) {
    await parts.stop().catch(() => undefined);
    throw error;
  }
};

const openDatabase = async (
  session: Session,
  context: CellContext,
  flags: NodeFlags,
  application: string,
): Promise<Database> => {
  const { clock, logger } = context;
  const database = await openNodeDatabase(session, flags, { application, clock, logger });
  context.parts.add({ name: "database", stop: () => database.close() });
  return database;
};

const startConsolePart = async (
  context: CellContext,
  gateAddress: string,
  options: {
    readonly listen: string;
    readonly data: DataSource;
    readonly allowedOrigins?: readonly string[] | undefined;
  },
): Promise<string> => {
  const client = createClient({
    gates: [gateAddress],
    transport: context.security.transport,
    clock: context.clock,
    random: systemRandom,
    logger: context.logger,
    ...(context.security.credential === undefined ? {} : { credential: context.security.credential }),
  });
  context.parts.add({ name: "console's client", stop: () => client.close() });
  const console = await startConsole({
    client,
    listen: options.listen,
    data: options.data,
    allowedOrigins: options.allowedOrigins ?? [],
    clock: context.clock,
    random: systemRandom,
    logger: context.logger,
    ...(context.security.authenticate === undefined ? {} : { authenticate: context.security.authenticate }),
  });
  context.parts.add({ name: "console", stop: () => console.close() });
  return console.url;
};

/** `east=host:port,host:port`, given once per datacenter. */
const collectDatacenter = (text: string, before: Record<string, string[]>): Record<string, string[]> => {
  const match = /^([^=]+)=(.+)$/.exec(text);
  if (match === null)
    throw new UsageError(`--datacenter must be NAME=host:port,…, got ${JSON.stringify(text)}`);
  const [, name = "", addresses = ""] = match;
  if (name in before) throw new UsageError(`--datacenter names ${name} twice`);
  return { ...before, [name]: parseAddresses("--datacenter", addresses, 7411) };
};

/** @throws UsageError for anything but `host:port`. */
const advertiseOf = ({ advertise }: { readonly advertise?: string }): { readonly advertise?: string } => {
  if (advertise === undefined) return {};
  const [address, ...others] = parseAddresses("--advertise", advertise, 7401);
  if (address === undefined || others.length > 0) throw new UsageError("--advertise takes one host:port");
  return { advertise: address };
};

const defaultCores = (): number => Math.max(1, availableParallelism());

export const gateCommand = (session: Session): Command =>
  withConsoleDataFlags(withStoreFlags(new Command("gate")))
    .description("run a gate: takes jobs from clients, places them in datacenters, merges their results")
    .option("--listen <host:port>", "where clients connect", "127.0.0.1:7401")
    .option("--advertise <host:port>", "the address that others dial, when it is not the one listened on")
    .option("--console <host:port>", "serve the console here")
    .addOption(allowedOriginsOption())
    .addOption(rateLimitsOption())
    .option("--reporters <file>", "module that exports reporters for the results of jobs")
    .addOption(
      new Option("--datacenter <name=host:port,...>", "managers of a datacenter; repeat for each")
        .default({})
        .argParser(collectDatacenter),
    )
    .action(
      (
        flags: NodeFlags &
          ConsoleDataFlags & {
            rateLimits?: RateLimits;
            listen: string;
            advertise?: string;
            console?: string;
            allowedOrigins?: string[];
            reporters?: string;
            datacenter: Record<string, string[]>;
          },
      ) => {
        if (Object.keys(flags.datacenter).length === 0)
          throw new UsageError("a gate needs at least one --datacenter NAME=host:port");
        if (flags.allowedOrigins !== undefined && flags.console === undefined)
          throw new UsageError("--allowed-origins is for the console: give --console host:port too");
        const listens = [flags.listen, ...(flags.console === undefined ? [] : [flags.console])];
        return runNode(session, flags, listens, async (context) => {
          const reporters = flags.reporters === undefined ? [] : await loadReporters(flags.reporters);
          const database = await openDatabase(session, context, flags, "gate");
          const gate = await startGate(context, {
            listen: flags.listen,
            database,
            schema: "gate",
            datacenters: flags.datacenter,
            exclusive: false,
            shardJobs: flags.shardJobs,
            rateLimits: flags.rateLimits,
            reporters,
            ...advertiseOf(flags),
            ...(flags.id === undefined ? {} : { nodeId: flags.id }),
          });
          const console =
            flags.console === undefined
              ? undefined
              : await startConsolePart(context, gate.address, {
                  listen: flags.console,
                  data: openConsoleData(session, context, database, flags),
                  allowedOrigins: flags.allowedOrigins,
                });
          return {
            role: "gate",
            node: gate.nodeId,
            gate: gate.address,
            ...(console === undefined ? {} : { console }),
          };
        });
      },
    );

export const managerCommand = (session: Session): Command =>
  withStoreFlags(new Command("manager"))
    .description("run a manager: schedules the jobs of one datacenter onto its workers")
    .requiredOption("--datacenter <name>", "the datacenter it belongs to")
    .option("--listen <host:port>", "where workers, gates and clients connect", "127.0.0.1:7411")
    .option("--advertise <host:port>", "the address that others dial, when it is not the one listened on")
    .action((flags: NodeFlags & { listen: string; advertise?: string; datacenter: string }) =>
      runNode(session, flags, [flags.listen], async (context) => {
        const database = await openDatabase(session, context, flags, "manager");
        const manager = await startManager(context, {
          datacenter: flags.datacenter,
          listen: flags.listen,
          database,
          schema: schemaFor("dc", flags.datacenter),
          exclusive: false,
          shardJobs: flags.shardJobs,
          ...advertiseOf(flags),
          ...(flags.id === undefined ? {} : { nodeId: flags.id }),
        });
        return {
          role: "manager",
          node: manager.nodeId,
          datacenter: flags.datacenter,
          manager: manager.address,
        };
      }),
    );

export const workerCommand = (session: Session): Command =>
  withNodeFlags(new Command("worker"))
    .description("run a worker: executes the workflows of a module; --database is what workflows write to")
    .requiredOption("--datacenter <name>", "the datacenter it belongs to")
    .option("--manager <host:port,...>", "managers of that datacenter", "127.0.0.1:7411")
    .option(
      "--workflows <file>",
      "module that exports workflows (default: holdfast.workflows.js or .ts here)",
    )
    .addOption(
      new Option("--cores <n>", "shards to run at a time (default: all processors)").argParser(
        wholeNumber("--cores", 1, 4096),
      ),
    )
    .action(
      (flags: NodeFlags & { datacenter: string; manager: string; workflows?: string; cores?: number }) => {
        const modulePath = findWorkflowModule(session.cwd, flags.workflows);
        if (modulePath === undefined)
          throw new UsageError("a worker needs --workflows FILE: a module that exports workflows");
        const managers = parseAddresses("--manager", flags.manager, 7411);
        return runNode(session, flags, [], async (context) => {
          const hasDatabase = (flags.database ?? session.env.HOLDFAST_DATABASE) !== undefined;
          const database = hasDatabase ? await openDatabase(session, context, flags, "worker") : undefined;
          const cores = flags.cores ?? defaultCores();
          const worker = await startWorker(context, {
            datacenter: flags.datacenter,
            managers,
            cores,
            modulePath,
            database,
            ...(flags.id === undefined ? {} : { nodeId: flags.id }),
          });
          return { role: "worker", node: worker.nodeId, datacenter: flags.datacenter, cores };
        });
      },
    );

export const nodeCommand = (session: Session): Command =>
  withConsoleDataFlags(withStoreFlags(new Command("node")))
    .description("run gate, manager, worker and console of a single server in one process, on PostgreSQL")
    .requiredOption("--all", "all roles (the single roles have commands of their own)")
    .option("--datacenter <name>", "name of the datacenter", "main")
    .option(
      "--listen <host:port>",
      "where clients connect; the manager takes the port 10 above",
      "127.0.0.1:7401",
    )
    .option("--console <host:port>", "serve the console here", "127.0.0.1:7400")
    .addOption(allowedOriginsOption())
    .addOption(rateLimitsOption())
    .option("--reporters <file>", "module that exports reporters for the results of jobs")
    .option(
      "--workflows <file>",
      "module that exports workflows (default: holdfast.workflows.js or .ts here)",
    )
    .addOption(
      new Option("--cores <n>", "shards to run at a time (default: all processors)").argParser(
        wholeNumber("--cores", 1, 4096),
      ),
    )
    .action(
      (
        flags: NodeFlags &
          ConsoleDataFlags & {
            rateLimits?: RateLimits;
            datacenter: string;
            listen: string;
            console: string;
            allowedOrigins?: string[];
            reporters?: string;
            workflows?: string;
            cores?: number;
          },
      ) =>
        runNode(session, flags, [flags.listen, flags.console], async (context) => {
          const modulePath = findWorkflowModule(session.cwd, flags.workflows);
          const reporters = flags.reporters === undefined ? [] : await loadReporters(flags.reporters);
          const database = await openDatabase(session, context, flags, "node");
          const [host = "127.0.0.1", port = "0"] = [
            flags.listen.slice(0, flags.listen.lastIndexOf(":")),
            flags.listen.split(":").at(-1),
          ];
          const managerPort = port === "0" ? 0 : Number(port) + 10;
          const manager = await startManager(context, {
            datacenter: flags.datacenter,
            listen: `${host}:${managerPort}`,
            database,
            schema: schemaFor("dc", flags.datacenter),
            exclusive: false,
            shardJobs: flags.shardJobs,
          });
          const gate = await startGate(context, {
            listen: flags.listen,
            database,
            schema: "gate",
            datacenters: { [flags.datacenter]: [manager.address] },
            exclusive: false,
            shardJobs: flags.shardJobs,
            rateLimits: flags.rateLimits,
            reporters,
          });
          await startWorker(context, {
            datacenter: flags.datacenter,
            managers: [manager.address],
            cores: flags.cores ?? defaultCores(),
            modulePath,
            database,
          });
          const data = openConsoleData(session, context, database, flags);
          const console = await startConsolePart(context, gate.address, {
            listen: flags.console,
            data,
            allowedOrigins: flags.allowedOrigins,
          });
          return { role: "all", gate: gate.address, manager: manager.address, console };
        }),
    );
