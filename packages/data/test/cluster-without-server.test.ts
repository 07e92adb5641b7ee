import { expect, it } from "vitest";
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
