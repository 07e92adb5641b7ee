import type { Readable } from "node:stream";
import type { Clock, Logger } from "@holdfast/kernel";

/** Longest line that is logged, and most lines in a second: a workflow that prints in a loop must not fill the disk. */
const LINE_MAX_CHARACTERS = 4_096;
const LINES_PER_SECOND = 200;

/** Logs what a workflow prints, line by line. What is over 200 lines a second is dropped, and their number logged. */
export const logOutput = (
  stream: Readable,
  options: { readonly name: string; readonly clock: Clock; readonly logger: Logger },
): void => {
  const { name, clock, logger } = options;
  let rest = "";
  let second = 0;
  let lineCount = 0;

  const logLine = (line: string): void => {
    const now = Math.floor(clock.monotonicNow() / 1_000);
    if (now !== second) {
      if (lineCount > LINES_PER_SECOND) {
        const droppedCount = lineCount - LINES_PER_SECOND;
        logger.warn(
          { stream: name, droppedCount },
          `${droppedCount} lines that workflows printed were dropped`,
        );
      }
      second = now;
      lineCount = 0;
    }
    lineCount += 1;
    if (lineCount <= LINES_PER_SECOND) logger.info({ stream: name }, line.slice(0, LINE_MAX_CHARACTERS));
  };

  stream.setEncoding("utf8");
  stream.on("data", (chunk: string) => {
    const lines = (rest + chunk).split("\n");
    rest = (lines.pop() ?? "").slice(-LINE_MAX_CHARACTERS);
    for (const line of lines) logLine(line);
  });
};
