import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { systemClock } from "@holdfast/kernel";
import { afterEach, describe, expect, it } from "vitest";
import { PatroniClient } from "./patroni-client.ts";

let server: Server | undefined;
afterEach(() => server?.close());

interface Seen {
  readonly method: string | undefined;
  readonly url: string | undefined;
  readonly body: string;
  readonly authorization: string | undefined;
}

const serve = async (
  status: number,
  text: string,
): Promise<{ readonly client: PatroniClient; readonly seen: Seen[] }> => {
  const seen: Seen[] = [];
  server = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk) => {
      body += String(chunk);
    });
    request.on("end", () => {
      seen.push({
        method: request.method,
        url: request.url,
        body,
        authorization: request.headers.authorization,
      });
      response.writeHead(status).end(text);
    });
  });
  await new Promise<void>((resolve) => server?.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    client: new PatroniClient({ url: `http://admin:secret@127.0.0.1:${port}`, clock: systemClock }),
    seen,
  };
};

describe("asking Patroni for a switchover", () => {
  it.each([
    [200, "done"],
    [202, "scheduled"],
    [412, "refused"],
    [503, "failed"],
    [400, "rejected"],
    [401, "rejected"],
  ] as const)("takes status %i for %s, with what it says", async (status, kind) => {
    const { client } = await serve(status, "because of this\n");
    expect(await client.switchover({ leader: "n1" })).toEqual({ kind, message: "because of this" });
  });

  it("names leader, candidate and moment, and says who asks", async () => {
    const { client, seen } = await serve(202, "ok");
    await client.switchover({ leader: "n1", candidate: "n2", scheduledAt: "2026-11-21T10:00:00.000Z" });
    expect(seen[0]).toMatchObject({
      method: "POST",
      url: "/switchover",
      authorization: `Basic ${btoa("admin:secret")}`,
    });
    expect(JSON.parse(seen[0]?.body ?? "")).toEqual({
      leader: "n1",
      candidate: "n2",
      scheduled_at: "2026-11-21T10:00:00.000Z",
    });
  });
});

describe("asking Patroni", () => {
  it.each([
    [200, "not json", /\/cluster is not JSON/],
    [500, "{}", /status 500/],
    [200, "{}", /no list of members/],
  ])("refuses the answer %i %s, retryable, without the password", async (status, text, reason) => {
    const { client } = await serve(status, text);
    const error = await client.cluster().then(
      () => undefined,
      (problem: Error) => problem,
    );
    expect(error).toMatchObject({ code: "DATA_PATRONI_ANSWER", retryable: true });
    expect(error?.message).toMatch(reason);
    expect(JSON.stringify(error)).not.toContain("secret");
  });

  it.each([
    ['{"synchronous_mode": true, "loop_wait": 2}', { isSynchronous: true, loopWaitMs: 2_000 }],
    ['{"synchronous_mode": "quorum"}', { isSynchronous: true, loopWaitMs: 10_000 }],
    ["null", { isSynchronous: false, loopWaitMs: 10_000 }],
  ])("reads the settings %s, with the defaults of Patroni", async (text, settings) => {
    const { client } = await serve(200, text);
    expect(await client.settings()).toEqual(settings);
  });

  it("reports a health check by its status, without touching anything", async () => {
    const { client, seen } = await serve(503, "");
    expect(await client.check("/replica?lag=10MB")).toBe(503);
    expect(seen[0]).toMatchObject({ method: "OPTIONS", url: "/replica?lag=10MB" });
  });

  it("says that nobody is there, and that no answer came in time", async () => {
    const { client } = await serve(200, "{}");
    await new Promise((resolve) => server?.close(resolve));
    await expect(client.cluster()).rejects.toMatchObject({
      code: "DATA_PATRONI_UNREACHABLE",
      retryable: true,
    });
    const silent = createServer(() => undefined);
    server = silent;
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    const url = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`;
    const impatient = new PatroniClient({ url, clock: systemClock, timeoutMs: 20 });
    await expect(impatient.cluster()).rejects.toMatchObject({ code: "KERNEL_TIMEOUT", retryable: true });
    silent.closeAllConnections();
  });

  it.each(["", "db:8008", "ftp://db:8008"])("refuses the address %j", (url) => {
    expect(() => new PatroniClient({ url, clock: systemClock })).toThrow(/patroni url must be/);
  });
});

describe("a client of Patroni", () => {
  it("is refused a URL that cannot be decoded when it is made, without showing it", () => {
    const make = (): PatroniClient =>
      new PatroniClient({ url: "http://admin:50%secret@127.0.0.1:8008", clock: systemClock });
    expect(make).toThrow(expect.objectContaining({ code: "KERNEL_INVALID_INPUT" }));
    expect(make).not.toThrow(/secret/);
  });

  it.each([Number.NaN, 0, -1])("is refused %d ms for an answer", (timeoutMs) => {
    const url = "http://127.0.0.1:8008";
    expect(() => new PatroniClient({ url, clock: systemClock, timeoutMs })).toThrow(
      expect.objectContaining({ code: "KERNEL_INVALID_INPUT", field: "timeoutMs" }),
    );
  });
});
