import { createFaultProxy, type PostgresServer, startPostgres } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { openCluster } from "../src/index.ts";

describeService("postgres", "a cluster of one server", () => {
  let server: PostgresServer;
  beforeAll(async () => {
    server = await startPostgres({ password: "right" });
  });
  afterAll(() => server?.[Symbol.asyncDispose]());

  const urlBy = (port: number): string => server.url.replace(String(server.port), String(port));

  it.each([
    ["a wrong password", (url: string) => url.replace("right", "wrong"), "SQL_AUTHENTICATION_FAILED"],
    ["an unknown database", (url: string) => url.replace(/postgres$/, "nowhere"), "SQL_CONNECT_FAILED"],
  ])("is not opened with %s, and says that trying again is no use", async (_what, urlOf, code) => {
    const error = await openCluster({ url: urlOf(server.url), connectTimeoutMs: 500 }).catch(
      (problem: unknown) => problem,
    );
    expect(error).toMatchObject({ code, retryable: false });
    expect(JSON.stringify(error) + String(error)).not.toContain("wrong");
  });

  it("is listened to as soon as a connection can be opened, as it is written to", async () => {
    await using proxy = await createFaultProxy({ target: { host: server.host, port: server.port } });
    await using database = await openCluster({ url: urlBy(proxy.port), primaryWaitMs: 20_000 });
    await proxy.refuse();
    const heard: string[] = [];
    const listening = database.listen("news", (payload) => heard.push(payload));
    listening.catch(() => undefined);
    // Over a connection that is open already; it gives the other one the time to be refused.
    await database.query("SELECT pg_sleep(0.2)", []);
    await proxy.heal();
    await using _listener = await listening;
    await database.query("SELECT pg_notify('news', 'here')", []);
    await vi.waitFor(() => expect(heard).toEqual(["here"]));
  });
});
