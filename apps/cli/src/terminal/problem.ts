import { isHoldfastError, toWireError } from "@holdfast/kernel";
import type { Session } from "./session.ts";

/** Wrong usage: exit code 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** The next step that helps most with an error of this code, for a person who has not read the manual. */
export const NEXT_STEPS: Readonly<Record<string, string>> = {
  CONNECTION_REFUSED:
    "Is a gate running? Start one with 'holdfast dev', or name one with --gate host:port (or HOLDFAST_GATE).",
  CONNECTION_TIMEOUT: "The address answers nothing. Check host and port, or name another gate with --gate.",
  CONNECTION_ADDRESS_IN_USE:
    "Another process uses this port. Stop it, or choose another with --port (0 takes free ports).",
  AUTHENTICATION_FAILED: "Set HOLDFAST_TOKEN to a token that this cluster knows.",
  DATA_DIRECTORY_LOCKED: "Stop the other process, or choose another directory with --data-dir.",
  DATA_DIRECTORY_TOO_NEW:
    "Use the newer Holdfast that wrote it, or choose another directory with --data-dir.",
  DATA_DIRECTORY_INVALID: "Choose another directory with --data-dir, or restore this one from a backup.",
  JOBS_UNKNOWN_WORKFLOW:
    "Start a worker that registers it (--workflows FILE), or check the name: 'holdfast workers'.",
  JOBS_INVALID_INPUT:
    "Correct the input (--input JSON or --input @FILE) and submit again; nothing was stored.",
  JOBS_NOT_FOUND: "List the jobs with 'holdfast jobs'.",
};

/** Tells a person (or a program, with `json`) what failed and what to do next; returns the exit code. */
export const reportProblem = (
  session: Session,
  error: unknown,
  options: { readonly json: boolean },
): number => {
  const usage = error instanceof UsageError;
  const wire = usage ? { code: "USAGE", message: error.message, retryable: false } : toWireError(error);
  const next = NEXT_STEPS[wire.code];
  if (options.json) {
    session.printJson({ error: { ...wire, ...(next === undefined ? {} : { next }) } });
  } else {
    session.printError(`${session.errorStyle("red", "error")} ${wire.message}`);
    if (next !== undefined) session.printError(`${session.errorStyle("dim", "next")}  ${next}`);
    if (usage)
      session.printError(
        `${session.errorStyle("dim", "next")}  holdfast --help lists the commands and their flags`,
      );
    if (
      !usage &&
      !isHoldfastError(error) &&
      session.env.HOLDFAST_DEBUG !== undefined &&
      error instanceof Error
    ) {
      session.printError(error.stack ?? "");
    }
  }
  return usage ? 2 : 1;
};
