import type { QueueStats, TaskQueue, TaskRecord } from "@holdfast/coordination";
import { createPostgresStore } from "@holdfast/coordination/postgres";
import { createRedisStore } from "@holdfast/coordination/redis";
import { openPostgres, openRedis } from "@holdfast/data";
import { Command, Option } from "commander";
import { duration, wholeNumber } from "../flags.ts";
import { formatAge, formatCount, formatDuration } from "../terminal/format.ts";
import { UsageError } from "../terminal/problem.ts";
import type { Session } from "../terminal/session.ts";
import { renderTable } from "../terminal/table.ts";
import type { ExitCode } from "./exit-code.ts";

interface QueueFlags {
  readonly store?: string;
  readonly schema: string;
  readonly namespace: string;
  readonly json?: boolean;
}

/** Most dead tasks that one call requeues; with `--all` there are as many calls as it takes. */
const RETRY_PAGE = 1000;
const PURGE_PAGE = 10_000;

/** `holdfast queue …`: looks after task queues in PostgreSQL or Redis, directly in their store. */
export const queueCommand = (session: Session, exit: ExitCode): Command =>
  new Command("queue")
    .description("look after a task queue in its store: statistics, dead letters, purging, pausing")
    .addCommand(statsCommand(session))
    .addCommand(deadCommand(session))
    .addCommand(retryCommand(session, exit))
    .addCommand(purgeCommand(session))
    .addCommand(pauseCommand(session, "pause"))
    .addCommand(pauseCommand(session, "resume"));

const withQueueFlags = (command: Command): Command =>
  command
    .argument("<queue>")
    .option("--store <url>", "postgres:// or redis:// (HOLDFAST_STORE, else HOLDFAST_DATABASE)")
    .addOption(new Option("--schema <name>", "the store's schema in PostgreSQL").default("holdfast"))
    .addOption(new Option("--namespace <name>", "the store's namespace in Redis").default("holdfast"))
    .option("--json", "print one JSON document")
    .exitOverride();

/** Opens the store for one command and closes it afterwards. */
const withQueue = async <T>(
  session: Session,
  name: string,
  flags: QueueFlags,
  body: (queue: TaskQueue<never>) => Promise<T>,
): Promise<T> => {
  const url = flags.store || session.env.HOLDFAST_STORE || session.env.HOLDFAST_DATABASE;
  if (!url) {
    throw new UsageError("which store? Give --store postgres://… or redis://…, or set HOLDFAST_STORE");
  }
  if (/^rediss?:/.test(url)) {
    await using redis = openRedis({ url });
    await using store = await createRedisStore({ redis, namespace: flags.namespace });
    return await body(store.queue(name));
  }
  if (!/^postgres(ql)?:/.test(url)) {
    throw new UsageError(
      `--store must be a postgres:// or redis:// address, got ${JSON.stringify(scheme(url))}`,
    );
  }
  await using sql = await openPostgres({ url });
  await using store = await createPostgresStore({ sql, schema: flags.schema });
  return await body(store.queue(name));
};

/** What may be shown of an address: never its password. */
const scheme = (url: string): string => /^[a-z][a-z0-9+.-]*:/i.exec(url)?.[0] ?? "something else";

const statsCommand = (session: Session): Command =>
  withQueueFlags(new Command("stats"))
    .description("count the tasks of a queue by state")
    .action(async (name: string, flags: QueueFlags) => {
      const { stats, limits } = await withQueue(session, name, flags, async (queue) => ({
        stats: await queue.stats({ signal: session.signal }),
        limits: (await queue.settings({ signal: session.signal })).limits,
      }));
      if (flags.json) session.printJson({ queue: name, ...stats, limits: limits ?? null });
      else session.print(renderStats(session, stats, limits === undefined ? "none" : JSON.stringify(limits)));
    });

const renderStats = (session: Session, stats: QueueStats, limits: string): string =>
  renderTable(
    [
      ...(
        ["waiting", "pending", "delayed", "claimed", "completed", "dead", "cancelled", "total"] as const
      ).map((state) => ({ what: state, value: formatCount(stats[state]) })),
      { what: "tried before", value: formatCount(stats.retrying) },
      {
        what: "oldest due",
        value: stats.oldestDueMs === undefined ? "-" : formatDuration(Math.max(0, stats.oldestDueMs)),
      },
      { what: "paused", value: stats.paused ? session.style("yellow", "yes") : "no" },
      { what: "limits", value: limits },
    ],
    [
      { title: "tasks", value: ({ what }) => what },
      { title: "", value: ({ value }) => value, align: "right" },
    ],
    session.style,
  );

const deadCommand = (session: Session): Command =>
  withQueueFlags(new Command("dead"))
    .description("list dead tasks with their last error")
    .addOption(new Option("--limit <n>", "how many").default(20).argParser(wholeNumber("--limit", 1, 1000)))
    .option("--after <id>", "go on after this id")
    .action(async (name: string, flags: QueueFlags & { limit: number; after?: string }) => {
      const tasks = await withQueue(session, name, flags, (queue) =>
        queue.list({
          states: ["dead"],
          limit: flags.limit,
          signal: session.signal,
          ...(flags.after === undefined ? {} : { afterId: flags.after }),
        }),
      );
      if (flags.json) session.printJson({ queue: name, tasks });
      else if (tasks.length === 0) session.print(`no dead tasks in ${name}`);
      else session.print(renderDead(session, tasks));
    });

const renderDead = (session: Session, tasks: readonly TaskRecord[]): string =>
  renderTable(
    tasks,
    [
      { title: "task", value: ({ id }) => id, maxWidth: 44 },
      { title: "type", value: ({ type }) => type, maxWidth: 24 },
      { title: "attempts", value: ({ attempt, maxAttempts }) => `${attempt}/${maxAttempts}`, align: "right" },
      {
        title: "died",
        value: ({ finishedAt }) =>
          finishedAt === undefined ? "-" : formatAge(Math.max(0, session.clock.wallNow() - finishedAt)),
        align: "right",
      },
      { title: "last error", value: lastError, maxWidth: 80 },
    ],
    session.style,
  );

const lastError = ({ failures }: TaskRecord): string => {
  const error = failures.at(-1)?.error;
  if (error === undefined) return "-";
  const message =
    typeof error === "object" && error !== null && "message" in error ? (error.message as unknown) : error;
  return typeof message === "string" ? message : JSON.stringify(message);
};

const retryCommand = (session: Session, exit: ExitCode): Command =>
  withQueueFlags(new Command("retry"))
    .description("put dead tasks back with fresh attempts: the ones named, or all")
    .argument("[ids...]")
    .option("--all", "every dead task of the queue")
    .action(async (name: string, ids: readonly string[], flags: QueueFlags & { all?: boolean }) => {
      if ((ids.length === 0) !== (flags.all === true)) {
        throw new UsageError(
          "name the tasks to retry, or give --all ('holdfast queue dead QUEUE' lists them)",
        );
      }
      const { signal } = session;
      const requeued = await withQueue(session, name, flags, async (queue) => {
        if (flags.all !== true) return queue.requeueDead(ids, { signal });
        const done: string[] = [];
        for (let afterId: string | undefined; ; ) {
          const dead = await queue.list({
            states: ["dead"],
            limit: RETRY_PAGE,
            signal,
            ...(afterId === undefined ? {} : { afterId }),
          });
          if (dead.length === 0) return done;
          done.push(
            ...(await queue.requeueDead(
              dead.map(({ id }) => id),
              { signal },
            )),
          );
          afterId = dead.at(-1)?.id;
        }
      });
      const missed = ids.filter((id) => !requeued.includes(id));
      if (flags.json) session.printJson({ queue: name, requeued, notDead: missed });
      else {
        session.print(`${formatCount(requeued.length)} put back`);
        for (const id of missed) session.print(`${id} was not dead, or a living task has its dedupe key`);
      }
      if (missed.length > 0) exit.code = 1;
    });

const PURGEABLE = ["completed", "cancelled", "dead"] as const;

const purgeCommand = (session: Session): Command =>
  withQueueFlags(new Command("purge"))
    .description("delete tasks that ended long enough ago")
    .addOption(
      new Option("--older-than <time>", "since their end")
        .default(3_600_000, "1h")
        .argParser(duration("--older-than")),
    )
    .option("--states <states>", "of completed, cancelled, dead", "completed,cancelled")
    .action(async (name: string, flags: QueueFlags & { olderThan: number; states: string }) => {
      const states = flags.states.split(",").map((state) => {
        const known = PURGEABLE.find((one) => one === state.trim());
        if (known === undefined) {
          throw new UsageError(`--states must be of ${PURGEABLE.join(", ")}, got ${JSON.stringify(state)}`);
        }
        return known;
      });
      const purged = await withQueue(session, name, flags, async (queue) => {
        for (let total = 0; ; ) {
          const count = await queue.purge({
            olderThanMs: flags.olderThan,
            states,
            limit: PURGE_PAGE,
            signal: session.signal,
          });
          total += count;
          if (count === 0) return total;
        }
      });
      if (flags.json) session.printJson({ queue: name, purged });
      else session.print(`${formatCount(purged)} deleted`);
    });

const pauseCommand = (session: Session, verb: "pause" | "resume"): Command =>
  withQueueFlags(new Command(verb))
    .description(
      verb === "pause" ? "hand out no more tasks; what runs goes on" : "hand out tasks again after a pause",
    )
    .action(async (name: string, flags: QueueFlags) => {
      await withQueue(session, name, flags, (queue) => queue[verb]({ signal: session.signal }));
      if (flags.json) session.printJson({ queue: name, paused: verb === "pause" });
      else session.print(verb === "pause" ? `${name} is paused` : `${name} goes on`);
    });
