import { Option } from "commander";
import { UsageError } from "../terminal/problem.ts";

const FLAG = "--allowed-origins";

/** Origins as browsers send them, `https://ops.example` for example. @throws UsageError naming the one that is none. */
export const parseAllowedOrigins = (text: string): string[] => {
  const origins = text.split(",").map((part) => part.trim());
  for (const origin of origins) {
    const sent = originOf(origin);
    if (sent === origin) continue;
    const hint = sent === undefined ? "such as https://ops.example" : `did you mean ${sent}?`;
    throw new UsageError(
      `${FLAG} must name scheme, host and port exactly as browsers send them (${hint}), got ${JSON.stringify(origin)}`,
    );
  }
  return [...new Set(origins)];
};

const originOf = (text: string): string | undefined => {
  if (!/^https?:\/\//i.test(text) || !URL.canParse(text)) return undefined;
  return new URL(text).origin;
};

/** Under which names beside its own the console is served, and whose pages may use it. */
export const allowedOriginsOption = (): Option =>
  new Option(
    `${FLAG} <origin,...>`,
    "names under which the console may be used beside localhost and addresses, e.g. https://ops.example",
  ).argParser(parseAllowedOrigins);
