import { accessSync, constants, existsSync } from "node:fs";
import { createServer } from "node:net";
import { resolve } from "node:path";
import { openPostgres } from "@holdfast/data";
import { silentLogger, systemRandom, toWireError } from "@holdfast/kernel";
import { Command } from "commander";
import { findWorkflowModule } from "../nodes/workflow-module.ts";
import type { Session } from "../terminal/session.ts";
import { renderTable } from "../terminal/table.ts";
import { withClient } from "./client-command.ts";
import type { ExitCode } from "./exit-code.ts";

interface Finding {
  readonly check: string;
  readonly verdict: "ok" | "note" | "problem";
  readonly detail: string;
}

export const doctorCommand = (session: Session, exit: ExitCode): Command =>
  new Command("doctor")
    .description("check this machine and say what the mode you run in promises, and what it does not")
    .option("--data-dir <dir>", "data directory to look at", ".holdfast")
    .option("--database <url>", "PostgreSQL to look at (HOLDFAST_DATABASE)")
    .option("--gate <host:port,...>", "gates to look at")
    .option("--json", "print one JSON document")
    .action(async (flags: { dataDir: string; database?: string; gate?: string; json?: boolean }) => {
      const findings = [
        checkNode(),
        checkDataDirectory(session, flags.dataDir),
        ...(await Promise.all([7400, 7401, 7411].map(checkPort))),
        checkWorkflows(session),
        await checkDatabase(session, flags.database ?? session.env.HOLDFAST_DATABASE),
        await checkGate(session, flags.gate),
        durabilityOf(flags.database ?? session.env.HOLDFAST_DATABASE),
      ];
      if (flags.json) session.printJson({ findings });
      else {
        const paint = { ok: "green", note: "yellow", problem: "red" } as const;
        session.print(
          renderTable(
            findings,
            [
              { title: "check", value: (finding) => finding.check },
              { title: "", value: (finding) => session.style(paint[finding.verdict], finding.verdict) },
              { title: "detail", value: (finding) => finding.detail, maxWidth: 160 },
            ],
            session.style,
          ),
        );
      }
      exit.code = findings.some((finding) => finding.verdict === "problem") ? 1 : 0;
    });

const checkNode = (): Finding => {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  const fine = major > 20 || (major === 20 && minor >= 12);
  return {
    check: "Node.js",
    verdict: fine ? "ok" : "problem",
    detail: `${process.versions.node}${fine ? "" : ": 20.12 or newer is needed"}`,
  };
};

const checkDataDirectory = (session: Session, directory: string): Finding => {
  const path = resolve(session.cwd, directory);
  if (!existsSync(path))
    return {
      check: "data directory",
      verdict: "ok",
      detail: `${path} does not exist yet; 'holdfast dev' makes it`,
    };
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return { check: "data directory", verdict: "ok", detail: path };
  } catch {
    return {
      check: "data directory",
      verdict: "problem",
      detail: `${path} cannot be read and written by this user`,
    };
  }
};

const checkPort = (port: number): Promise<Finding> =>
  new Promise((done) => {
    const server = createServer();
    server.once("error", () =>
      done({
        check: `port ${port}`,
        verdict: "note",
        detail: "in use: a running cluster, or choose others with --port",
      }),
    );
    server.listen(port, "127.0.0.1", () =>
      server.close(() => done({ check: `port ${port}`, verdict: "ok", detail: "free" })),
    );
  });

const checkWorkflows = (session: Session): Finding => {
  const path = findWorkflowModule(session.cwd, undefined);
  return path === undefined
    ? {
        check: "workflows",
        verdict: "note",
        detail: "no holdfast.workflows.js or .ts in this directory; name a module with --workflows",
      }
    : { check: "workflows", verdict: "ok", detail: path };
};

const checkDatabase = async (session: Session, url: string | undefined): Promise<Finding> => {
  if (url === undefined)
    return {
      check: "PostgreSQL",
      verdict: "note",
      detail: "none named (--database or HOLDFAST_DATABASE): 'holdfast dev' uses the embedded one",
    };
  try {
    const database = await openPostgres({
      url,
      applicationName: "holdfast doctor",
      clock: session.clock,
      random: systemRandom,
      logger: silentLogger,
    });
    const version = database.serverVersion;
    await database.close();
    return { check: "PostgreSQL", verdict: "ok", detail: `answers, version ${version}` };
  } catch (error) {
    return { check: "PostgreSQL", verdict: "problem", detail: toWireError(error).message };
  }
};

const checkGate = async (session: Session, gate: string | undefined): Promise<Finding> => {
  try {
    const answers = await withClient(session, gate === undefined ? {} : { gate }, (client) =>
      client.ping({ signal: AbortSignal.any([session.signal, AbortSignal.timeout(3_000)]) }),
    );
    const alive = answers.filter((answer) => answer.error === undefined);
    if (alive.length > 0)
      return {
        check: "gate",
        verdict: "ok",
        detail: alive.map((answer) => `${answer.nodeId} at ${answer.address}`).join(", "),
      };
    return { check: "gate", verdict: "note", detail: answers[0]?.error?.message ?? "no answer" };
  } catch (error) {
    return { check: "gate", verdict: "note", detail: toWireError(error).message };
  }
};

const durabilityOf = (url: string | undefined): Finding =>
  url === undefined
    ? {
        check: "durability",
        verdict: "ok",
        detail:
          "embedded: what was acknowledged survives a killed process and, flushed to disk, a power loss",
      }
    : {
        check: "durability",
        verdict: "ok",
        detail:
          "PostgreSQL: what was acknowledged survives a power loss (with its default synchronous_commit)",
      };
