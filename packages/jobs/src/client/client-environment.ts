import { InvalidInputError } from "@holdfast/kernel";
import type { ClientOptions } from "./client-options.ts";

type TimeOption = "deadlineMs" | "watchSilenceMs" | "requestTimeoutMs";

/** The variable of each option that the environment may set. */
const VARIABLES: Readonly<Record<TimeOption, string>> = {
  deadlineMs: "HOLDFAST_CLIENT_DEADLINE_MS",
  watchSilenceMs: "HOLDFAST_CLIENT_WATCH_SILENCE_MS",
  requestTimeoutMs: "HOLDFAST_CLIENT_REQUEST_TIMEOUT_MS",
};

/** A day: longer waits are mistakes of units. */
const LONGEST_MS = 86_400_000;

/**
 * The times of a client that the environment sets, for `createClient`; read when this is called. Spread your own
 * options after them. Variables, all in milliseconds, above 0 and at most a day:
 *
 * - `HOLDFAST_CLIENT_DEADLINE_MS`: how long a call goes on without a node that answers it (`deadlineMs`).
 * - `HOLDFAST_CLIENT_WATCH_SILENCE_MS`: after which silence a watch asks whether it missed something (`watchSilenceMs`).
 * - `HOLDFAST_CLIENT_REQUEST_TIMEOUT_MS`: how long one node has to answer (`requestTimeoutMs`).
 *
 * A variable that is missing or empty sets nothing: the option keeps its default.
 * @throws InvalidInputError naming the variable that is not such a number.
 */
export const clientOptionsFromEnvironment = (
  env: Readonly<Record<string, string | undefined>>,
): Pick<ClientOptions, TimeOption> => {
  const found: Partial<Record<TimeOption, number>> = {};
  for (const [option, variable] of Object.entries(VARIABLES) as [TimeOption, string][]) {
    const text = env[variable]?.trim() ?? "";
    if (text === "") continue;
    const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
    if (!(value > 0 && value <= LONGEST_MS)) {
      throw new InvalidInputError(variable, env[variable], `milliseconds above 0, at most ${LONGEST_MS}`);
    }
    found[option] = value;
  }
  return found;
};
