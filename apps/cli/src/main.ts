import { systemClock } from "@holdfast/kernel";
import { Command, CommanderError } from "commander";
import { loadCommands } from "./command-table.ts";
import type { ExitCode } from "./commands/exit-code.ts";
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
  // Nobody reads problems and logs any more: no reason to end in the middle of something, the exit code still tells.
  const onProblemsError = (error: NodeJS.ErrnoException): void => {
    if (error.code !== "EPIPE") throw error;
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  process.stdout.on("error", onOutputError);
  process.stderr.on("error", onProblemsError);
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
  try {
    const program = await createProgram(session, exit, argv);
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

const createProgram = async (session: Session, exit: ExitCode, argv: readonly string[]): Promise<Command> => {
  const program = new Command("holdfast")
    .description("Durable jobs across machines and datacenters, watched live, correct when machines fail.")
    .version(VERSION)
    .showHelpAfterError("(holdfast --help lists the commands)")
    .configureOutput({
      writeOut: (text) => session.stdout.write(text),
      writeErr: (text) => session.stderr.write(text),
    });
  for (const command of await loadCommands(argv, session, exit)) {
    program.addCommand(withOurExit(command, program));
  }
  return program.exitOverride();
};

/** A command and all below it report wrong usage to us instead of ending the process. */
const withOurExit = (command: Command, program: Command): Command => {
  for (const below of command.commands) withOurExit(below, program);
  return command.exitOverride().configureOutput(program.configureOutput());
};
