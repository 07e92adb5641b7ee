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
