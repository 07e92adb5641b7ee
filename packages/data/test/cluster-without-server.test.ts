import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { expect, it, onTestFinished } from "vitest";
import { openCluster } from "../src/index.ts";

it("a cluster that is closed turns away at once who waits for its primary, to write or to listen", async () => {
  const database = await openCluster({
    // Nobody listens there.
    url: "postgres://nobody@127.0.0.1:1/none",
    needsPrimary: false,
    primaryWaitMs: 3_600_000,
  });
  const waiting = [
    database.query("SELECT 1", []),
    database.transaction(async () => undefined),
    database.session().query("SELECT 1", []),
    database.listen("news", () => undefined),
  ].map((call) => call.catch((error: { code: string }) => error.code));
  await database.close();
  expect(await Promise.all(waiting)).toEqual(waiting.map(() => "KERNEL_CLOSED"));
});

it("a statement waits for a primary no longer than its own time", async () => {
  await using database = await openCluster({
    url: "postgres://nobody@127.0.0.1:1/none",
    needsPrimary: false,
    primaryWaitMs: 3_600_000,
  });
  const options = { timeoutMs: 20 };
  const codes = [
    database.query("SELECT 1", [], options),
    database.read("SELECT 1", [], { ...options, from: "primary" }),
    database.read("SELECT 1", [], options),
    database.session().query("SELECT 1", [], options),
    database.session().read("SELECT 1", [], options),
  ].map((call) =>
    call.catch(({ code, retryable }: { code: string; retryable: boolean }) => [code, retryable]),
  );
  const noPrimary = ["DATA_NO_PRIMARY", true];
  expect(await Promise.all(codes)).toEqual([
    noPrimary,
    noPrimary,
    ["DATA_NO_REPLICA", true],
    noPrimary,
    noPrimary,
  ]);
});

it("a server whose address cannot be told for a while is still watched, and so are the others", async () => {
  let isFailing = false;
  await using database = await openCluster({
    url: "postgres://nobody@127.0.0.1:1,127.0.0.2:1/none",
    needsPrimary: false,
    mapAddress: ({ host, port }) => {
      if (isFailing && host === "127.0.0.2") throw new Error("the list of addresses is gone");
      return { host, port };
    },
  });
  isFailing = true;
  // Every round ends, and is followed by another one.
  for (let round = 0; round < 3; round += 1) {
    const { nodes } = await database.refresh();
    expect(nodes.map(({ name }) => name)).toEqual(["127.0.0.1:1", "127.0.0.2:1"]);
  }
});

it("a cluster none of whose addresses can be told says so", async () => {
  const opening = openCluster({
    url: "postgres://nobody@127.0.0.1:1/none",
    connectTimeoutMs: 100,
    mapAddress: () => {
      throw new Error("the list of addresses is gone");
    },
  });
  await expect(opening).rejects.toMatchObject({
    code: "DATA_NO_PRIMARY",
    message: expect.stringContaining("mapAddress failed: the list of addresses is gone"),
  });
});

/** A server that turns everybody away with one SQLSTATE, as PostgreSQL does it. */
const startRefusing = async (sqlState: string): Promise<number> => {
  const fields = Buffer.from(`SFATAL\0VFATAL\0C${sqlState}\0Mno\0\0`);
  const refusal = Buffer.alloc(5 + fields.length);
  refusal.write("E");
  refusal.writeInt32BE(4 + fields.length, 1);
  fields.copy(refusal, 5);
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.once("data", () => socket.end(refusal));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as { port: number }).port;
};

it.each([
  ["28P01", "SQL_AUTHENTICATION_FAILED"],
  ["3D000", "SQL_CONNECT_FAILED"],
])("nobody waits for a primary where every server refuses us for good (%s)", async (sqlState, code) => {
  const ports = await Promise.all([startRefusing(sqlState), startRefusing(sqlState)]);
  const url = `postgres://nobody:wrong@127.0.0.1:${ports[0]},127.0.0.1:${ports[1]}/none`;
  const refused = { code, retryable: false };
  const opening = openCluster({ url, connectTimeoutMs: 3_600_000 });
  await expect(opening).rejects.toMatchObject(refused);
  await using database = await openCluster({ url, needsPrimary: false, primaryWaitMs: 3_600_000 });
  await Promise.all(
    [
      database.query("SELECT 1", []),
      database.transaction(async () => undefined),
      database.read("SELECT 1", []),
      database.session().query("SELECT 1", []),
      database.listen("news", () => undefined),
    ].map((call) => expect(call).rejects.toMatchObject(refused)),
  );
});

it("a primary is waited for as long as one server may still answer", async () => {
  const port = await startRefusing("28P01");
  await using database = await openCluster({
    // Nobody listens on the first one's port now.
    url: `postgres://nobody:wrong@127.0.0.1:1,127.0.0.1:${port}/none`,
    needsPrimary: false,
    primaryWaitMs: 20,
  });
  await expect(database.query("SELECT 1", [])).rejects.toMatchObject({ code: "DATA_NO_PRIMARY" });
});
