import type { Command } from "commander";
import type { ExitCode } from "./commands/exit-code.ts";
import type { Session } from "./terminal/session.ts";

type Load = (session: Session, exit: ExitCode) => Promise<Command>;

/**
 * Every command, in the order in which help lists them. Each is loaded when it is called: `holdfast jobs` should not
 * wait for the code of a database and a web server.
 */
const COMMANDS: Readonly<Record<string, Load>> = {
  dev: async (session) => (await import("./commands/dev.ts")).devCommand(session),
  submit: async (session, exit) => (await import("./commands/submit.ts")).submitCommand(session, exit),
  jobs: async (session) => (await import("./commands/job-commands.ts")).jobsCommand(session),
  job: async (session) => (await import("./commands/job-commands.ts")).jobCommand(session),
  watch: async (session, exit) => (await import("./commands/job-commands.ts")).watchCommand(session, exit),
  cancel: async (session, exit) => (await import("./commands/job-commands.ts")).cancelCommand(session, exit),
  result: async (session, exit) => (await import("./commands/job-commands.ts")).resultCommand(session, exit),
  compare: async (session) => (await import("./commands/compare.ts")).compareCommand(session),
  ping: async (session, exit) => (await import("./commands/cluster-commands.ts")).pingCommand(session, exit),
  datacenters: async (session) =>
    (await import("./commands/cluster-commands.ts")).datacentersCommand(session),
  workers: async (session) => (await import("./commands/cluster-commands.ts")).workersCommand(session),
  leaders: async (session) => (await import("./commands/cluster-commands.ts")).leadersCommand(session),
  queue: async (session, exit) => (await import("./commands/queue-commands.ts")).queueCommand(session, exit),
  publish: async (session) => (await import("./commands/publish.ts")).publishCommand(session),
  node: async (session) => (await import("./commands/node-commands.ts")).nodeCommand(session),
  gate: async (session) => (await import("./commands/node-commands.ts")).gateCommand(session),
  manager: async (session) => (await import("./commands/node-commands.ts")).managerCommand(session),
  worker: async (session) => (await import("./commands/node-commands.ts")).workerCommand(session),
  cluster: async (session) =>
    (await import("./commands/local-cluster-commands.ts")).localClusterCommand(session),
  ha: async (session, exit) => (await import("./commands/ha-commands.ts")).haCommand(session, exit),
  doctor: async (session, exit) => (await import("./commands/doctor.ts")).doctorCommand(session, exit),
};

/** The one command that is called, or all when it is not known which: for help, and to suggest what was meant. */
export const loadCommands = async (
  argv: readonly string[],
  session: Session,
  exit: ExitCode,
): Promise<readonly Command[]> => {
  const [name = ""] = argv;
  const called = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  const loads = called === undefined ? Object.values(COMMANDS) : [called];
  return Promise.all(loads.map((load) => load(session, exit)));
};
