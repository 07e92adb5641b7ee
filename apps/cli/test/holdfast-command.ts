import { fileURLToPath } from "node:url";
import type { JobResult } from "@holdfast/protocol/contract";
import { type ManagedProcess, startProcess, waitUntil } from "@holdfast/testkit";

export const BIN = fileURLToPath(new URL("../bin/holdfast.js", import.meta.url));
export const WORKFLOWS = fileURLToPath(new URL("../../../holdfast.workflows.mjs", import.meta.url));

/** Starts the real command as a process of its own. */
export const startHoldfast = (
  args: readonly string[],
  options: { readonly cwd?: string; readonly env?: Readonly<Record<string, string>> } = {},
): Promise<ManagedProcess> =>
  startProcess(process.execPath, [BIN, ...args], {
    name: `holdfast ${args[0]}`,
    env: {
      ...process.env,
      NO_COLOR: "1",
      HOLDFAST_GATE: undefined,
      HOLDFAST_TOKEN: undefined,
      ...options.env,
    },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    stopTimeoutMs: 15_000,
  });

export interface CommandEnd {
  readonly code: number | null;
  readonly lines: readonly string[];
  readonly output: string;
}

/** Runs one command to its end. */
export const runHoldfast = async (
  args: readonly string[],
  options: { readonly cwd?: string; readonly env?: Readonly<Record<string, string>> } = {},
): Promise<CommandEnd> => {
  await using child = await startHoldfast(args, options);
  const { code } = await child.closed;
  return { code, lines: child.stdout, output: child.output };
};

/** Runs one command with `--json` and reads the only (or last) document. */
export const askHoldfast = async <T>(args: readonly string[]): Promise<T> => {
  const end = await runHoldfast([...args, "--json"]);
  const last = end.lines.at(-1);
  if (last === undefined) throw new Error(`holdfast ${args.join(" ")} printed nothing:\n${end.output}`);
  return JSON.parse(last) as T;
};

export interface DevReady {
  readonly event: "ready";
  readonly console: string;
  readonly gate: string;
  readonly readyMs: number;
}

/** Starts `holdfast dev` with the examples and waits until it is ready. */
export const startDev = async (
  args: readonly string[],
): Promise<{ readonly dev: ManagedProcess; readonly ready: DevReady }> => {
  const dev = await startHoldfast(["dev", "--json", "--workflows", WORKFLOWS, ...args]);
  const [line] = await dev.waitForLine(/^\{"event":"ready".*$/, { timeoutMs: 60_000 });
  return { dev, ready: JSON.parse(line) as DevReady };
};

interface WatchedEvent {
  readonly kind: string;
  readonly state?: string;
  readonly position?: { readonly epoch: string; readonly offset: string };
  readonly event?: { readonly type: string; readonly [field: string]: unknown };
}

/** What `holdfast watch --json` has printed so far. */
export const watched = (watch: ManagedProcess): readonly WatchedEvent[] =>
  watch.stdout.filter((line) => line.startsWith("{")).map((line) => JSON.parse(line) as WatchedEvent);

/** The offsets a watch has seen, in the order in which it printed them. */
export const offsetsOf = (watch: ManagedProcess): readonly number[] =>
  watched(watch).flatMap((item) =>
    item.kind === "event" && item.position !== undefined ? [Number(item.position.offset)] : [],
  );

export const leadersOf = (watch: ManagedProcess, role: "gate" | "manager") =>
  watched(watch).flatMap(({ event }) =>
    event?.type === "job.leader" && event.role === role
      ? [
          {
            fence: BigInt((event.leader as { fence: string }).fence),
            datacenter: event.datacenter as string | undefined,
          },
        ]
      : [],
  );

/** Waits until the watch has shown an event that fits. */
export const untilWatched = (
  watch: ManagedProcess,
  what: string,
  fits: (item: WatchedEvent) => boolean,
  timeoutMs = 60_000,
) => waitUntil(what, () => watched(watch).some(fits), { timeoutMs });

/** Requests that a load test had planned: those it made, and those that a busy machine did not let it start in time. */
export const plannedRequests = (result: JobResult): number => {
  const { requests = 0, "load.missed": missed = 0 } = result.workflows[0]?.totals.counters ?? {};
  return requests + missed;
};
