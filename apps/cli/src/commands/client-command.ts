import { clientOptionsFromEnvironment, createClient, type JobsClient } from "@holdfast/jobs/client";
import { InvalidInputError, silentLogger, systemRandom } from "@holdfast/kernel";
import { type Command, Option } from "commander";
import { DEFAULT_GATE, parseAddresses } from "../addresses.ts";
import { duration } from "../flags.ts";
import { readTransport } from "../security.ts";
import { UsageError } from "../terminal/problem.ts";
import type { Session } from "../terminal/session.ts";

export interface ClientFlags {
  readonly gate?: string;
  readonly json?: boolean;
  readonly tlsCa?: string;
  /** Milliseconds. */
  readonly wait?: number;
}

/** A person at a terminal wants to know soon that nobody answers; a script can ask for more patience. */
const WAIT_DEFAULT_MS = 5_000;

/** Flags that every command which talks to a cluster has. */
export const withClientFlags = (command: Command): Command =>
  command
    .option("--gate <host:port,...>", `gates to ask (HOLDFAST_GATE; default ${DEFAULT_GATE})`)
    .option("--tls-ca <file>", "speak TLS and trust this certificate authority (HOLDFAST_TLS_CA)")
    .addOption(
      new Option(
        "--wait <time>",
        "how long to keep trying to reach a gate (HOLDFAST_CLIENT_DEADLINE_MS; default 5s)",
      ).argParser(duration("--wait")),
    )
    .option("--json", "print JSON: one document, or one per line when it streams");

/** Opens a client for one command and closes it afterwards. */
export const withClient = async <T>(
  session: Session,
  flags: ClientFlags,
  body: (client: JobsClient) => Promise<T>,
): Promise<T> => {
  const gates = parseAddresses("--gate", flags.gate ?? session.env.HOLDFAST_GATE ?? DEFAULT_GATE, 7401);
  const transport = await readTransport({ ca: flags.tlsCa ?? session.env.HOLDFAST_TLS_CA });
  const token = session.env.HOLDFAST_TOKEN;
  const times = timesOf(session);
  await using client = createClient({
    gates,
    transport,
    clock: session.clock,
    random: systemRandom,
    logger: silentLogger,
    ...times,
    deadlineMs: flags.wait ?? times.deadlineMs ?? WAIT_DEFAULT_MS,
    backoffBaseMs: 200,
    ...(token === undefined ? {} : { credential: { token } }),
  });
  return await body(client);
};

const timesOf = (session: Session): ReturnType<typeof clientOptionsFromEnvironment> => {
  try {
    return clientOptionsFromEnvironment(session.env);
  } catch (error) {
    if (error instanceof InvalidInputError) throw new UsageError(error.message);
    throw error;
  }
};
