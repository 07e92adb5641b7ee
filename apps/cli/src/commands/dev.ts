import { availableParallelism } from "node:os";
import { resolve } from "node:path";
import { createDataSource, startConsole } from "@holdfast/console";
import { openEmbedded } from "@holdfast/data";
import { createClient } from "@holdfast/jobs/client";
import { systemRandom } from "@holdfast/kernel";
import { Command, Option } from "commander";
import { nameList, wholeNumber } from "../flags.ts";
import { startGate, startManager, startWorker } from "../nodes/cell.ts";
import { allowedOriginsOption } from "../nodes/console-origins.ts";
import { schemaFor } from "../nodes/datacenter-schema.ts";
import { createNodeLogger } from "../nodes/logger.ts";
import { type RateLimits, rateLimitsOption } from "../nodes/rate-limits.ts";
import { loadReporters } from "../nodes/reporter-module.ts";
import { RunningParts } from "../nodes/running.ts";
import { findWorkflowModule } from "../nodes/workflow-module.ts";
import { readNodeSecurity } from "../security.ts";
import { formatDuration } from "../terminal/format.ts";
import { UsageError } from "../terminal/problem.ts";
import type { Session } from "../terminal/session.ts";

interface DevFlags {
  readonly port: number;
  readonly dataDir: string;
  readonly datacenters: string[];
  readonly workers: number;
  readonly cores?: number;
  readonly workflows?: string;
  readonly rateLimits?: RateLimits;
  readonly reporters?: string;
  readonly allowedOrigins?: string[];
  readonly json?: boolean;
}

/** Managers of `holdfast dev` listen from here on: port + 11, port + 12 … */
const MANAGER_PORT_OFFSET = 11;

export const devCommand = (session: Session): Command =>
  new Command("dev")
    .description(
      "run a whole datacenter in this process: gate, managers, workers, console, embedded database",
    )
    .addOption(
      new Option("--port <n>", "console; the gate takes the next one; 0 takes free ports")
        .default(7400)
        .argParser(wholeNumber("--port", 0, 65_000)),
    )
    .option("--data-dir <dir>", "where the database lives", ".holdfast")
    .addOption(
      new Option("--datacenters <name,...>", "datacenters to run")
        .default(["local"], "local")
        .argParser(nameList("--datacenters")),
    )
    .addOption(
      new Option("--workers <n>", "workers per datacenter")
        .default(2)
        .argParser(wholeNumber("--workers", 0, 64)),
    )
    .addOption(
      new Option(
        "--cores <n>",
        "shards that one worker runs at a time (default: half the processors, at least 2)",
      ).argParser(wholeNumber("--cores", 1, 256)),
    )
    .option(
      "--workflows <file>",
      "module that exports workflows (default: holdfast.workflows.js or .ts here)",
    )
    .option("--reporters <file>", "module that exports reporters for the results of jobs")
    .addOption(rateLimitsOption())
    .addOption(allowedOriginsOption())
    .option("--json", "print JSON lines, the first when ready")
    .action((flags: DevFlags) => runDev(session, flags));

const runDev = async (session: Session, flags: DevFlags): Promise<void> => {
  const startedAt = session.clock.monotonicNow();
  refuseSharedSchemas(flags.datacenters);
  const modulePath = findWorkflowModule(session.cwd, flags.workflows);
  const reporters = flags.reporters === undefined ? [] : await loadReporters(flags.reporters);
  const parts = new RunningParts();
  try {
    const security = await readNodeSecurity({}, [], {});
    const logger = createNodeLogger(session, "warn");
    const context = { clock: session.clock, logger, security, parts };
    const database = await openEmbedded({
      dataDir: resolve(session.cwd, flags.dataDir),
      clock: session.clock,
      logger,
    });
    parts.add({ name: "database", stop: () => database.close() });

    const datacenters: Record<string, readonly string[]> = {};
    for (const [index, datacenter] of flags.datacenters.entries()) {
      const port = flags.port === 0 ? 0 : flags.port + MANAGER_PORT_OFFSET + index;
      const manager = await startManager(context, {
        datacenter,
        listen: `127.0.0.1:${port}`,
        database,
        schema: schemaFor("dc", datacenter),
        nodeId: `manager-${datacenter}`,
        exclusive: true,
      });
      datacenters[datacenter] = [manager.address];
    }
    const gate = await startGate(context, {
      listen: `127.0.0.1:${flags.port === 0 ? 0 : flags.port + 1}`,
      database,
      schema: "gate",
      datacenters,
      nodeId: "gate",
      exclusive: true,
      rateLimits: flags.rateLimits,
      reporters,
    });
    const starting = Object.entries(datacenters).flatMap(([datacenter, managers]) =>
      Array.from({ length: flags.workers }, (_, index) =>
        startWorker(context, {
          datacenter,
          managers,
          cores: flags.cores ?? Math.max(2, Math.floor(availableParallelism() / 2)),
          modulePath,
          database,
          nodeId: `worker-${datacenter}-${index + 1}`,
        }),
      ),
    );
    const client = createClient({
      gates: [gate.address],
      transport: security.transport,
      clock: session.clock,
      random: systemRandom,
      logger,
    });
    parts.add({ name: "console's client", stop: () => client.close() });
    const serving = startConsole({
      client,
      data: createDataSource({ database, clock: session.clock }),
      listen: `127.0.0.1:${flags.port}`,
      allowedOrigins: flags.allowedOrigins ?? [],
      clock: session.clock,
      random: systemRandom,
      logger,
    }).then((console) => {
      parts.add({ name: "console", stop: () => console.close() });
      return console;
    });
    // One that fails does not hurry the others: what starts after the end would never be stopped.
    await Promise.allSettled([serving, ...starting]);
    const [console, ...workers] = await Promise.all([serving, ...starting]);

    announce(session, flags, {
      console: console.url,
      gate: gate.address,
      workflows: workers[0]?.workflows ?? [],
      tookMs: session.clock.monotonicNow() - startedAt,
    });
    await parts.untilStopped(session);
  } catch (error) {
    await parts.stop().catch(() => undefined);
    throw error;
  }
};

/** Two datacenters in one schema would be one, whose every job counts twice. @throws UsageError naming both. */
const refuseSharedSchemas = (datacenters: readonly string[]): void => {
  const bySchema = new Map<string, string>();
  for (const datacenter of datacenters) {
    const schema = schemaFor("dc", datacenter);
    const other = bySchema.get(schema);
    if (other !== undefined) {
      throw new UsageError(
        `--datacenters: ${other} and ${datacenter} would share the schema ${schema}; choose names that differ in their letters a to z and digits`,
      );
    }
    bySchema.set(schema, datacenter);
  }
};

const announce = (
  session: Session,
  flags: DevFlags,
  ready: {
    readonly console: string;
    readonly gate: string;
    readonly workflows: readonly string[];
    readonly tookMs: number;
  },
): void => {
  if (flags.json) {
    session.printJson({
      event: "ready",
      console: ready.console,
      gate: ready.gate,
      readyMs: Math.round(ready.tookMs),
    });
    return;
  }
  const { style } = session;
  const flag = ready.gate === "127.0.0.1:7401" ? "" : ` --gate ${ready.gate}`;
  session.print(
    `${style("green", "ready")} in ${formatDuration(ready.tookMs)}: ${flags.datacenters.join(", ")} with ${flags.workers} workers each`,
  );
  session.print(`  console  ${style("cyan", ready.console)}`);
  session.print(`  gate     ${ready.gate}`);
  session.print(`  data     ${resolve(session.cwd, flags.dataDir)}`);
  if (ready.workflows.length === 0) {
    session.print(
      `  ${style("yellow", "no workflows")}: export some from holdfast.workflows.js here, or name a module with --workflows`,
    );
  } else {
    for (const workflow of ready.workflows.slice(0, 5)) {
      session.print(`  run      npx holdfast submit ${workflow}${flag} --watch --report json,csv,xml`);
    }
  }
  session.print(style("dim", "  Ctrl-C stops; jobs go on at the next start"));
};
