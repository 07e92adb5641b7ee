import { styleText } from "node:util";

type Format = Parameters<typeof styleText>[0];

/** Colours only on a terminal that wants them: not when piped, not with NO_COLOR. */
export type Style = (format: Format, text: string) => string;

export const createStyle = (stream: NodeJS.WriteStream, env: NodeJS.ProcessEnv): Style => {
  const enabled =
    (stream.isTTY && env.NO_COLOR === undefined && env.TERM !== "dumb") || env.FORCE_COLOR === "1";
  return enabled ? (format, text) => styleText(format, text) : (_format, text) => text;
};

/** How each job or workflow status is painted everywhere. */
export const statusFormat = (status: string): Format => {
  switch (status) {
    case "completed":
      return "green";
    case "failed":
    case "timeout":
      return "red";
    case "cancelled":
    case "cancelling":
    case "partial":
      return "yellow";
    case "running":
    case "dispatching":
    case "completing":
    case "assigned":
      return "cyan";
    default:
      return "gray";
  }
};
