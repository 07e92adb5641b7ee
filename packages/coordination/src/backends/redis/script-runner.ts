import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { type Abortable, ClosedError, isHoldfastError, OutcomeUnknownError } from "@holdfast/kernel";
import { SchemaTooNewError, StoreUnavailableError } from "../../errors.ts";
import type { RedisClient, RedisScript, RedisTransaction } from "./redis-client.ts";

/** The scripts lie in their own files, read from `src`; see ../postgres/sql-files.ts for why that works. */
const HERE = new URL("../../../src/backends/redis/scripts/", import.meta.url);

const SCRIPT_NAMES = [
  "delete-streams",
  "expire-states",
  "grant-lease",
  "list-leases",
  "now",
  "read-lease",
  "read-states",
  "release-lease",
  "renew-leases",
  "revoke-leases",
  "store-format",
  "sweep-leases",
  "trim-stream",
  "write-states",
] as const;

const LOG_SCRIPT_NAMES = ["append-entries", "read-entries"] as const;

const QUEUE_SCRIPT_NAMES = [
  "advance-schedule",
  "cancel-groups",
  "change-settings",
  "claim-tasks",
  "complete-tasks",
  "delete-groups",
  "enqueue-alike-tasks",
  "enqueue-tasks",
  "fail-tasks",
  "list-schedules",
  "list-tasks",
  "next-due",
  "purge-tasks",
  "put-schedule",
  "queue-stats",
  "read-settings",
  "recover-tasks",
  "remove-schedule",
  "renew-claims",
  "report-progress",
  "requeue-dead",
] as const;

export type QueueScriptName = (typeof QUEUE_SCRIPT_NAMES)[number];
export type ScriptName = (typeof SCRIPT_NAMES)[number] | (typeof LOG_SCRIPT_NAMES)[number] | QueueScriptName;
export type Scripts = Readonly<Record<ScriptName, RedisScript>>;

/** What a script begins with: files of functions that it shares with others. */
const sharedParts = (name: ScriptName): readonly string[] => {
  if (includes(LOG_SCRIPT_NAMES, name)) return ["stream-life"];
  if (!includes(QUEUE_SCRIPT_NAMES, name)) return [];
  if (name === "claim-tasks") return ["task-steps", "claim-limits", "due-tasks"];
  return name === "next-due" ? ["task-steps", "claim-limits"] : ["task-steps"];
};

const includes = <Name extends string>(names: readonly Name[], name: string): name is Name =>
  (names as readonly string[]).includes(name);

export const readScripts = async (): Promise<Scripts> => {
  const names = [...SCRIPT_NAMES, ...LOG_SCRIPT_NAMES, ...QUEUE_SCRIPT_NAMES];
  const scripts = await Promise.all(
    names.map(async (name): Promise<RedisScript> => {
      const text = (await Promise.all([...sharedParts(name), name].map(readScript))).join("");
      return { name, text, sha1: createHash("sha1").update(text).digest("hex") };
    }),
  );
  return Object.fromEntries(scripts.map((script) => [script.name, script])) as Record<
    ScriptName,
    RedisScript
  >;
};

const readScript = (name: string): Promise<string> => readFile(new URL(`${name}.lua`, HERE), "utf8");

/** Error replies that pass: loading, a demoted or cut off master, a cluster that is being changed, no memory, no disk. */
const OUTAGE_REPLY =
  /^(LOADING|READONLY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|NOREPLICAS|BUSY|OOM|MISCONF)\b|^ERR .*@user_script.*-(READONLY|OOM|MISCONF)\b/;
/** Any other error reply: the server answered, so it is a mistake and not an outage. */
const REPLY = /^[A-Z]{2,} /;

/** How keys are laid out. Grows with every change that a program that does not know of it would do harm to. */
const FORMAT = 1;

/**
 * Runs the store's scripts, one round trip each, and says in the store's terms what went wrong. Before the first of them
 * it asks once whether this program knows how the store is laid out.
 *
 * @throws SchemaTooNewError from every call, having touched nothing, when it does not.
 */
export class ScriptRunner {
  readonly #redis: RedisClient;
  readonly #scripts: Scripts;
  readonly #formatKey: string;
  #knowsFormat = false;
  #closed = false;

  constructor(redis: RedisClient, scripts: Scripts, formatKey: string) {
    this.#redis = redis;
    this.#scripts = scripts;
    this.#formatKey = formatKey;
  }

  get hasTransactions(): boolean {
    return this.#redis.runTransaction !== undefined;
  }

  /** `isRepeatable`: a lost answer is no doubt, because the same call can be made again. */
  run<Reply>(
    name: ScriptName,
    keys: readonly string[],
    args: readonly string[],
    options: Abortable & { readonly isRepeatable: boolean },
  ): Promise<Reply> {
    return this.#call<Reply>(name, options, (signal) =>
      this.#redis.runScript(this.#scripts[name], keys, args, { signal }),
    );
  }

  /** Of a client that has them. */
  runTransaction<Reply>(
    name: ScriptName,
    transaction: Omit<RedisTransaction, "script">,
    options: Abortable & { readonly isRepeatable: boolean },
  ): Promise<Reply> {
    return this.#call<Reply>(name, options, async (signal) =>
      this.#redis.runTransaction?.({ ...transaction, script: this.#scripts[name] }, { signal }),
    );
  }

  async #call<Reply>(
    name: ScriptName,
    options: Abortable & { readonly isRepeatable: boolean },
    send: (signal: AbortSignal | undefined) => Promise<unknown>,
  ): Promise<Reply> {
    if (!this.#knowsFormat) await this.#checkFormat(name, options.signal);
    return this.#attempt<Reply>(name, options, send);
  }

  async #checkFormat(name: ScriptName, signal: AbortSignal | undefined): Promise<void> {
    const found = await this.#attempt<string>(name, { signal, isRepeatable: true }, (whileSending) =>
      this.#redis.runScript(this.#scripts["store-format"], [this.#formatKey], [`${FORMAT}`], {
        signal: whileSending,
      }),
    );
    // What is no number was noted by a program that we do not know.
    if (!(Number(found) <= FORMAT)) throw new SchemaTooNewError(Number(found), FORMAT);
    this.#knowsFormat = true;
  }

  async #attempt<Reply>(
    name: ScriptName,
    options: Abortable & { readonly isRepeatable: boolean },
    send: (signal: AbortSignal | undefined) => Promise<unknown>,
  ): Promise<Reply> {
    const { signal } = options;
    signal?.throwIfAborted();
    if (this.#closed) throw new ClosedError("the coordination store");
    try {
      return (await send(signal)) as Reply;
    } catch (cause) {
      if (isHoldfastError(cause) || !(cause instanceof Error)) throw cause;
      if (signal?.aborted && cause === signal.reason) throw cause;
      if (OUTAGE_REPLY.test(cause.message)) throw new StoreUnavailableError(name, { cause });
      if (REPLY.test(cause.message)) throw cause;
      throw options.isRepeatable
        ? new StoreUnavailableError(name, { cause })
        : new OutcomeUnknownError(name, { cause });
    }
  }

  close(): void {
    this.#closed = true;
  }
}
