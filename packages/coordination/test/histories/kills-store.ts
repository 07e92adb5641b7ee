import { createHash } from "node:crypto";
import type { TaskQueue } from "@holdfast/coordination";
import { createPostgresStore } from "@holdfast/coordination/postgres";
import { createRedisStore } from "@holdfast/coordination/redis";
import { startPostgres, startRedis } from "@holdfast/testkit";
import { openPg } from "../pg-client.ts";
import { openRedis } from "../redis-client.ts";

/** A task that a worker holds in the store. */
export interface HeldTask {
  readonly id: string;
  readonly token: bigint;
  readonly attempt: number;
}

/** A queue on a server of its own, and what the server knows of the claims of a worker. */
export interface KillsStore extends AsyncDisposable {
  readonly url: string;
  readonly queue: TaskQueue<never>;
  /** Claims that have not ended, of a worker that cannot be asked any more. Looks past the queue's own calls. */
  heldBy(worker: string): Promise<readonly HeldTask[]>;
}

const QUEUE = "kills";

const disposeAll = (resources: readonly AsyncDisposable[]) => async (): Promise<void> => {
  for (const resource of resources) await resource[Symbol.asyncDispose]();
};

const openOnPostgres = async (): Promise<KillsStore> => {
  const server = await startPostgres({ settings: { max_connections: 200, shared_buffers: "256MB" } });
  const sql = openPg(server.url, 4);
  const store = await createPostgresStore({ sql });
  return {
    url: server.url,
    queue: store.queue(QUEUE) as TaskQueue<never>,
    async heldBy(worker) {
      const rows = await sql.query<{ id: string; token: string; attempt: number }>(
        `SELECT id, token::text AS token, attempt FROM holdfast.tasks
         WHERE queue = $1 AND state = 'claimed' AND worker = $2`,
        [QUEUE, worker],
      );
      return rows.map(({ id, token, attempt }) => ({ id, token: BigInt(token), attempt }));
    },
    [Symbol.asyncDispose]: disposeAll([store, sql, server]),
  };
};

const HELD_BY = `
local held, claims = {}, redis.call('HGETALL', KEYS[1])
for index = 1, #claims, 2 do
  local token, attempt, worker = string.match(claims[index + 1], '^..(%d+) (%d+) (.*)$')
  if worker == ARGV[1] then held[#held + 1] = {claims[index], token, attempt} end
end
return held`;

const openOnRedis = async (): Promise<KillsStore> => {
  const server = await startRedis();
  const redis = await openRedis(server.url);
  const store = await createRedisStore({ redis });
  const script = { name: "held-by", text: HELD_BY, sha1: createHash("sha1").update(HELD_BY).digest("hex") };
  return {
    url: server.url,
    queue: store.queue(QUEUE),
    async heldBy(worker) {
      const rows = await redis.runScript(script, [`{holdfast:queue:${QUEUE}}:c`], [worker]);
      return (rows as [string, string, string][]).map(([id, token, attempt]) => ({
        id,
        token: BigInt(token),
        attempt: Number(attempt),
      }));
    },
    [Symbol.asyncDispose]: disposeAll([store, redis, server]),
  };
};

export const openKillsStore = (on: "postgres" | "redis"): Promise<KillsStore> =>
  on === "postgres" ? openOnPostgres() : openOnRedis();
