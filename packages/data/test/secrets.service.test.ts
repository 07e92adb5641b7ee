import { inspect } from "node:util";
import type { Logger } from "@holdfast/kernel";
import { startPostgres, startRedis, waitUntil } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { expect, it } from "vitest";
import { openCache, openCluster, openPostgres, openRedis, readServerFacts } from "../src/index.ts";

const SECRET = "correct-horse-battery";

/** Keeps everything that is logged, with all that hangs on it. */
const keepingLogger = (lines: string[]): Logger => {
  const keep = (...said: readonly unknown[]): void => {
    lines.push(inspect(said, { depth: 12, showHidden: true }));
  };
  const logger: Logger = {
    debug: keep,
    info: keep,
    warn: keep,
    error: keep,
    child: () => logger,
  };
  return logger;
};

describeService(["postgres", "redis"], "a password", () => {
  it("is in no error, no line of the log and no figure, whatever fails, and nothing has one by default", async () => {
    const said: string[] = [];
    const logger = keepingLogger(said);
    const failed = async (work: Promise<unknown>): Promise<string> => {
      const error: unknown = await work.then(
        () => undefined,
        (reason: unknown) => reason,
      );
      expect(error).toBeInstanceOf(Error);
      said.push(inspect(error, { depth: 12, showHidden: true }), JSON.stringify(error), String(error));
      return (error as { code?: string }).code ?? "";
    };
    await using server = await startPostgres({ password: SECRET });
    const at = (user: string, host = `${server.host}:${server.port}`): string =>
      `postgres://${user}@${host}/postgres`;
    const ours = at(`postgres:${SECRET}`);

    // Without a password there is none to send: nothing was made up.
    expect(await failed(openPostgres({ url: at("postgres"), logger }))).toBe("SQL_AUTHENTICATION_FAILED");
    expect(await failed(openPostgres({ url: at(`postgres:${SECRET}x`), logger }))).toBe(
      "SQL_AUTHENTICATION_FAILED",
    );
    const nowhere = at(`postgres:${SECRET}`, "127.0.0.1:1");
    expect(await failed(openPostgres({ url: nowhere, logger, connectTimeoutMs: 5_000 }))).toBe(
      "SQL_CONNECT_FAILED",
    );
    await failed(openPostgres({ url: `postgres://postgres:${SECRET}@[broken/`, logger }));
    await failed(openCluster({ url: nowhere, logger, connectTimeoutMs: 500 }));

    const database = await openPostgres({ url: ours, logger, max: 2 });
    await database.query("CREATE TABLE secrets (token text PRIMARY KEY)", []);
    await database.query("INSERT INTO secrets VALUES ($1)", [SECRET]);
    await failed(database.query("INSERT INTO secrets VALUES ($1)", [SECRET]));
    await failed(database.query("SELECT nonsense FROM secrets WHERE token = $1", [SECRET]));
    await failed(database.query("SELECT pg_terminate_backend(pg_backend_pid())", []));
    said.push(inspect(database.stats()), inspect(await readServerFacts(database)));
    const cluster = await openCluster({ url: ours, logger });
    said.push(inspect(cluster.status(), { depth: 12 }), inspect(await cluster.history()));

    await using redisServer = await startRedis({ settings: { requirepass: SECRET } });
    const { port } = redisServer;
    await using stranger = openRedis({ url: `redis://127.0.0.1:${port}`, logger });
    await failed(stranger.link("key"));
    await using redis = openRedis({ url: `redis://:${SECRET}@127.0.0.1:${port}`, logger });
    const cache = await openCache({ name: "secrets", redis, logger });
    expect(await cache.get("key", { load: async () => 1 })).toBe(1);
    said.push(inspect(cache.stats()), inspect(await cache.server()));

    // The servers go while all of it is open: what is said then counts too.
    await redisServer[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
    await failed(database.query("SELECT 1", []));
    await waitUntil("the loss to be noticed", () => cluster.status().condition.kind === "down");
    await failed(cluster.query("SELECT 1", []));
    expect(await cache.get("other", { load: async () => 2 })).toBe(2);
    said.push(inspect(cluster.status(), { depth: 12 }), inspect(cache.stats()));
    await cache.close();
    await cluster.close({ graceMs: 0 });
    await database.close({ graceMs: 0 });

    expect(said.length).toBeGreaterThan(15);
    expect(said.filter((text) => text.includes(SECRET))).toEqual([]);
  }, 60_000);
});
