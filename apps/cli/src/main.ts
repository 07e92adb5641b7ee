import { systemClock } from "@holdfast/kernel";
import { Command, CommanderError } from "commander";
import {
  datacentersCommand,
  leadersCommand,
  pingCommand,
  workersCommand,
} from "./commands/cluster-commands.ts";
import { compareCommand } from "./commands/compare.ts";
import { devCommand } from "./commands/dev.ts";
import { doctorCommand } from "./commands/doctor.ts";
import type { ExitCode } from "./commands/exit-code.ts";
import { haCommand } from "./commands/ha-commands.ts";
import {
  cancelCommand,
  jobCommand,
  jobsCommand,
  resultCommand,
  watchCommand,
} from "./commands/job-commands.ts";
import { localClusterCommand } from "./commands/local-cluster-commands.ts";
import { gateCommand, managerCommand, nodeCommand, workerCommand } from "./commands/node-commands.ts";
import { publishCommand } from "./commands/publish.ts";
import { queueCommand } from "./commands/queue-commands.ts";
import { submitCommand } from "./commands/submit.ts";
import { reportProblem } from "./terminal/problem.ts";
import { createSession, type Session } from "./terminal/session.ts";
import { VERSION } from "./version.ts";

/** Runs one command and returns the exit code: 0 success, 1 failed job or refused request, 2 wrong usage. */
export const main = async (argv: readonly string[]): Promise<number> => {
  const stop = new AbortController();
  let interrupts = 0;
  const onSignal = (): void => {
    interrupts += 1;
    // The first asks to finish in order; whoever asks twice wants out now. Nothing accepted is lost either way.
    if (interrupts > 1) process.exit(130);
    stop.abort(new Error("interrupted"));
  };
  // Whoever read the output is gone (`holdfast watch … | head -1`): stop as on a signal.
  const onOutputError = (error: NodeJS.ErrnoException): void => {
    if (error.code !== "EPIPE") throw error;
    stop.abort(error);
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  process.stdout.on("error", onOutputError);
  const session = createSession({
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    cwd: process.cwd(),
    clock: systemClock,
    signal: stop.signal,
  });
  try {
    return await run(session, argv);
  } finally {
    process.off("SIGINT", onSignal);
    process.off("SIGTERM", onSignal);
  }
};

const run = async (session: Session, argv: readonly string[]): Promise<number> => {
  const exit: ExitCode = { code: 0 };
  const json = argv.includes("--json");
  const program = createProgram(session, exit);
  try {
    await program.parseAsync([...argv], { from: "user" });
    return exit.code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    if (session.signal.aborted && error === session.signal.reason) return isBrokenPipe(error) ? 141 : 130;
    return reportProblem(session, error, { json });
  }
};

const isBrokenPipe = (error: unknown): boolean =>
  error instanceof Error && (error as NodeJS.ErrnoException).code === "EPIPE";

const createProgram = (session: Session, exit: ExitCode): Command => {
  const program = new Command("holdfast")
    .description("Durable jobs across machines and datacenters, watched live, correct when machines fail.")
    .version(VERSION)
    .showHelpAfterError("(holdfast --help lists the commands)")
    .configureOutput({
      writeOut: (text) => session.stdout.write(text),
      writeErr: (text) => session.stderr.write(text),
    });
  const commands = [
    devCommand(session),
    submitCommand(session, exit),
    jobsCommand(session),
    jobCommand(session),
    watchCommand(session, exit),
    cancelCommand(session, exit),
    resultCommand(session, exit),
    compareCommand(session),
    pingCommand(session, exit),
    datacentersCommand(session),
    workersCommand(session),
    leadersCommand(session),
    queueCommand(session, exit),
    publishCommand(session),
    nodeCommand(session),
    gateCommand(session),
    managerCommand(session),
    workerCommand(session),
    localClusterCommand(session),
    haCommand(session, exit),
    doctorCommand(session, exit),
  ];
  for (const command of commands) program.addCommand(withOurExit(command, program));
  return program.exitOverride();
};

/** A command and all below it report wrong usage to us instead of ending the process. */
const withOurExit = (command: Command, program: Command): Command => {
  for (const below of command.commands) withOurExit(below, program);
  return command.exitOverride().configureOutput(program.configureOutput());
};
