import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { type Abortable, ClosedError, isHoldfastError, OutcomeUnknownError } from "@holdfast/kernel";
import { StoreUnavailableError } from "../../errors.ts";
import type { RedisClient, RedisScript } from "./redis-client.ts";

/** The scripts lie in their own files, read from `src`; see ../postgres/sql-files.ts for why that works. */
const HERE = new URL("../../../src/backends/redis/scripts/", import.meta.url);

const SCRIPT_NAMES = [
  "append-entries",
  "delete-streams",
  "grant-lease",
  "list-leases",
  "now",
  "read-entries",
  "read-lease",
  "release-lease",
  "renew-leases",
  "revoke-leases",
  "trim-stream",
] as const;

export type ScriptName = (typeof SCRIPT_NAMES)[number];
export type Scripts = Readonly<Record<ScriptName, RedisScript>>;

export const readScripts = async (): Promise<Scripts> => {
  const entries = await Promise.all(
    SCRIPT_NAMES.map(async (name) => {
      const text = await readFile(new URL(`${name}.lua`, HERE), "utf8");
      return [name, { name, text, sha1: createHash("sha1").update(text).digest("hex") }] as const;
    }),
  );
  return Object.fromEntries(entries) as Record<ScriptName, RedisScript>;
};

/** Error replies that pass: loading, a demoted or cut off master, a cluster that is being changed, no memory. */
const OUTAGE_REPLY = /^(LOADING|READONLY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|NOREPLICAS|BUSY|OOM)\b/;
/** Any other error reply: the server answered, so it is a mistake and not an outage. */
const REPLY = /^[A-Z]{2,} /;

/** Runs the store's scripts, one round trip each, and says in the store's terms what went wrong. */
export class ScriptRunner {
  readonly #redis: RedisClient;
  readonly #scripts: Scripts;
  #closed = false;

  constructor(redis: RedisClient, scripts: Scripts) {
    this.#redis = redis;
    this.#scripts = scripts;
  }

  /** `isRepeatable`: a lost answer is no doubt, because the same call can be made again. */
  async run<Reply>(
    name: ScriptName,
    keys: readonly string[],
    args: readonly string[],
    options: Abortable & { readonly isRepeatable: boolean },
  ): Promise<Reply> {
    const { signal } = options;
    signal?.throwIfAborted();
    if (this.#closed) throw new ClosedError("the coordination store");
    try {
      return (await this.#redis.runScript(this.#scripts[name], keys, args, { signal })) as Reply;
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
