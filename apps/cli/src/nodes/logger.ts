import type { Logger } from "@holdfast/kernel";
import { pino } from "pino";
import type { Session } from "../terminal/session.ts";

/** JSON lines on stderr, level from HOLDFAST_LOG (debug, info, warn, error, silent). Tokens and passwords are masked. */
export const createNodeLogger = (session: Session, fallbackLevel: string): Logger =>
  pino(
    {
      level: session.env.HOLDFAST_LOG ?? fallbackLevel,
      base: null,
      redact: {
        paths: ["token", "password", "credential", "*.token", "*.password", "*.credential"],
        censor: "[hidden]",
      },
    },
    session.stderr,
  );
