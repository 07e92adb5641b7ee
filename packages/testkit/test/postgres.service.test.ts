import { existsSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { startPostgres, startProcess, waitUntil } from "../src/index.ts";
import { describeService } from "../src/vitest/index.ts";

const alive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

describeService("postgres", "startPostgres", () => {
  it("gives a server that answers, and leaves nothing behind", async () => {
    const server = await startPostgres();
    expect(await server.sql("SELECT 40 + 2")).toBe("42");
    const { pid, dataDirectory } = server;
    await server[Symbol.asyncDispose]();
    expect(alive(pid)).toBe(false);
    expect(existsSync(dataDirectory)).toBe(false);
  });

  it("keeps committed rows through a crash, on the same port", async () => {
    await using server = await startPostgres();
    await server.sql("CREATE TABLE t AS SELECT 7 AS x");
    const { pid, port } = server;
    await server.kill();
    expect(server.running).toBe(false);
    await server.start();
    expect(server.port).toBe(port);
    expect(server.pid).not.toBe(pid);
    expect(await server.sql("SELECT x FROM t")).toBe("7");
  });

  it("applies settings and makes databases from templates", async () => {
    await using server = await startPostgres({ settings: { max_connections: 17 } });
    expect(await server.sql("SHOW max_connections")).toBe("17");
    await server.createDatabase("first");
    await server.sql("CREATE TABLE t (x int)", { database: "first" });
    expect(await server.createDatabase("second", { template: "first" })).toBe(server.urlOf("second"));
    expect(await server.sql("SELECT count(*) FROM t", { database: "second" })).toBe("0");
  });

  it("asks for the password when one is set", async () => {
    await using server = await startPostgres({ password: "correct horse" });
    expect(await server.sql("SELECT 1")).toBe("1");
    const log = await server.sql(
      "SELECT count(*) FROM pg_hba_file_rules WHERE auth_method <> 'scram-sha-256'",
    );
    expect(log).toBe("0");
    expect(server.url).toContain("correct%20horse");
  });

  it("starts a replica that follows", async () => {
    await using server = await startPostgres();
    await server.sql("CREATE TABLE t (x int)");
    await using replica = await server.startReplica();
    await server.sql("INSERT INTO t VALUES (1)");
    await waitUntil("the row to arrive", async () => (await replica.sql("SELECT x FROM t")) === "1");
    expect(await replica.sql("SELECT pg_is_in_recovery()")).toBe("t");
  });

  it("is stopped and removed when the test process is killed", async () => {
    const program = `
      const { startPostgres } = await import("@holdfast/testkit");
      const server = await startPostgres();
      console.log("server", server.pid, server.dataDirectory);
      setInterval(() => {}, 1000);`;
    await using child = await startProcess(
      process.execPath,
      ["--import", "tsx", "--conditions", "holdfast-source", "--input-type=module", "-e", program],
      { cwd: import.meta.dirname },
    );
    const [, pid, directory] = await child.waitForLine(/^server (\d+) (.*)$/, { timeoutMs: 60_000 });
    await child.kill("SIGKILL");
    await waitUntil("the server to end", () => !alive(Number(pid)));
    await waitUntil("the directory to go", () => !existsSync(directory ?? ""));
  });
});

describeService("pgvector", "startPostgres with extensions", () => {
  it("has them in every database", async () => {
    await using server = await startPostgres({ extensions: ["vector"] });
    await server.createDatabase("fresh");
    expect(await server.sql("SELECT '[1,2]'::vector <-> '[1,4]'", { database: "fresh" })).toBe("2");
  });
});

describe("startPostgres without the version that was asked for", () => {
  it("says that it is not installed", async () => {
    await expect(startPostgres({ version: 999 })).rejects.toMatchObject({
      code: "TESTKIT_SERVICE_UNAVAILABLE",
    });
  });
});
