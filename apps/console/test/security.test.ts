import { connect, type Socket } from "node:net";
import { describe, expect, it, vi } from "vitest";
import { emptyCluster, jobView, result, setUp } from "./fixture.ts";

const rawRequest = (
  url: string,
  text: string,
): Promise<{ readonly socket: Socket; readonly answer: string }> =>
  new Promise((resolve, reject) => {
    const { hostname, port } = new URL(url);
    let answer = "";
    const socket = connect(Number(port), hostname, () => socket.write(text));
    socket.on("data", (chunk) => {
      answer += String(chunk);
    });
    socket.on("error", reject);
    socket.on("close", () => resolve({ socket, answer }));
  });

const upgrade = (path: string, extra = ""): string =>
  `GET ${path} HTTP/1.1\r\nHost: console\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n${extra}\r\n`;

describe("tokens", () => {
  it.each([
    ["GET", "/api/cluster", "read"],
    ["GET", "/api/jobs", "read"],
    ["GET", "/api/jobs/job-1", "read"],
    ["GET", "/api/jobs/job-1/report/json", "read"],
    ["GET", "/metrics", "read"],
    ["POST", "/api/jobs", "submit"],
    ["POST", "/api/jobs/job-1/cancel", "cancel"],
  ])("%s %s needs one with the scope %s", async (method, path, scope) => {
    await using server = await setUp(
      {
        get: async () => jobView,
        result: async () => result,
        cancel: async () => ({ outcome: "cancelling", status: "cancelling" }),
        submit: async () => ({
          jobId: "job-1",
          status: "submitted",
          position: { epoch: "1", offset: "0" },
          duplicate: false,
        }),
      },
      { tokens: true },
    );
    const ask = (token?: string) =>
      server.ask(path, {
        method,
        ...(token === undefined ? {} : { token }),
        ...(method === "POST" ? { body: "{}" } : {}),
      });
    const right = { read: "reader", submit: "writer", cancel: "cancel" }[scope];
    const wrong = scope === "read" ? "cancel" : "reader";
    expect((await ask(`${right}-token-0001`)).ok).toBe(true);
    for (const token of [undefined, "nonsense", `${wrong}-token-0001`]) {
      const refused = await ask(token);
      expect(refused.status).toBe(401);
      const text = await refused.text();
      expect(text).toContain(`"${scope}"`.replaceAll('"', text.startsWith("{") ? '\\"' : '"'));
      expect(text).not.toContain("token-0001");
    }
  });

  it("are not asked for by the health check, and every answer tells browsers to be strict", async () => {
    await using server = await setUp({}, { tokens: true });
    const page = await server.ask("/health/live");
    expect(page.status).toBe(200);
    expect(page.headers.get("x-content-type-options")).toBe("nosniff");
    expect(page.headers.get("content-security-policy")).toContain("frame-ancestors 'none'");
    expect(page.headers.get("referrer-policy")).toBe("no-referrer");
  });

  it("open the WebSocket by header or by hello, and nothing is told without", async () => {
    await using server = await setUp({}, { tokens: true });
    const byHeader = await server.open({ token: "reader-token-0001" });
    byHeader.subscribe("cluster");
    await byHeader.expect("cluster", [{ event: "state" }]);
    const byHello = await server.open({ says: { hello: { version: 2, token: "reader-token-0001" } } });
    byHello.subscribe("cluster");
    await byHello.expect("cluster", [{ event: "state" }]);
    for (const token of [undefined, "nonsense", "cancel-token-0001"]) {
      const refused = await server.open({ says: { hello: { version: 2, ...(token ? { token } : {}) } } });
      refused.subscribe("cluster");
      await refused.until(() => expect(refused.closeCode).toBe(4401));
      expect(refused.received).toMatchObject([{ error: { code: "LIVE_UNAUTHENTICATED" } }]);
    }
  });

  it("end all that was followed when a later one is not good", async () => {
    await using server = await setUp({}, { tokens: true });
    const page = await server.open({ token: "reader-token-0001" });
    page.subscribe("cluster");
    await page.expect("cluster", [{ event: "state" }]);
    page.send({ refresh: { token: "nonsense" } });
    await page.until(() => expect(page.closeCode).toBe(4401));
    const cluster = vi.fn(async () => emptyCluster);
    await using quiet = await setUp({ cluster }, { tokens: true });
    const other = await quiet.open({ token: "reader-token-0001" });
    other.subscribe("cluster");
    await other.expect("cluster", [{ event: "state" }]);
    other.send({ refresh: { token: "cancel-token-0001" } });
    await other.until(() => expect(other.closeCode).toBe(4401));
    await quiet.clock.advance(2_000);
    const before = cluster.mock.calls.length;
    await quiet.clock.advance(10_000);
    // Nobody follows any more, so nobody looks.
    expect(cluster).toHaveBeenCalledTimes(before);
  });

  it("with the scope operate publish into channels of applications, and never into those of the cluster", async () => {
    await using server = await setUp({}, { tokens: true });
    const page = await server.open({ token: "reader-token-0001" });
    await page.answer(page.subscribe("order"));
    const publish = (token: string, channel: string) =>
      server.ask("/broadcast", {
        method: "POST",
        token,
        body: JSON.stringify({ channel, event: "created", payload: { entity_id: "42" } }),
      });
    expect((await publish("reader-token-0001", "order")).status).toBe(403);
    for (const channel of ["cluster", "jobs", "job:1"])
      expect((await publish("operate-token-0001", channel)).status).toBe(403);
    expect((await publish("operate-token-0001", "order")).status).toBe(200);
    await page.expect("order", [{ event: "created", payload: { entity_id: "42" } }]);
  });
});

describe("the REST interface", () => {
  it("does nothing for pages of other sites, which a browser lets post without asking", async () => {
    const cancel = vi.fn(async () => ({ outcome: "cancelling", status: "cancelling" }) as const);
    await using server = await setUp({ cancel }, { allowedOrigins: ["https://ops.example"] });
    const post = (origin: string) =>
      server.ask("/api/jobs/job-1/cancel", { method: "POST", headers: { origin } });
    for (const origin of ["https://evil.example", "null", `${server.console.url}.evil.example`]) {
      const refused = await post(origin);
      expect(refused.status).toBe(403);
      expect(await refused.json()).toMatchObject({ error: { code: "CONSOLE_FORBIDDEN" } });
    }
    expect(cancel).not.toHaveBeenCalled();
    for (const origin of [server.console.url, "https://ops.example"])
      expect((await post(origin)).status).toBe(200);
  });
});

describe("a name that leads to this machine and is not its own", () => {
  const get = (host: string, path = "/api/cluster") =>
    `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`;

  it("opens nothing where no token is asked for: its owner's pages would do as they like", async () => {
    await using server = await setUp({}, { allowedOrigins: ["https://ops.example"] });
    const { port } = new URL(server.console.url);
    const answer = async (text: string) => (await rawRequest(server.console.url, text)).answer;
    const evil = `evil.example:${port}`;
    expect(await answer(get(evil))).toMatch(/^HTTP\/1\.1 403 .*CONSOLE_FORBIDDEN/s);
    expect(await answer(get(evil, "/sse/broadcast?channel=cluster"))).toMatch(/^HTTP\/1\.1 403 /);
    const asPage = upgrade("/ws/broadcast", `Origin: http://${evil}\r\n`).replace(
      "Host: console",
      `Host: ${evil}`,
    );
    expect(await answer(asPage)).toMatch(/^HTTP\/1\.1 403 /);
    for (const host of [
      `localhost:${port}`,
      `app.localhost:${port}`,
      `127.0.0.1:${port}`,
      "[::1]",
      "ops.example",
    ])
      expect(await answer(get(host))).toMatch(/^HTTP\/1\.1 200 /);
  });

  it("is as good as any where tokens are", async () => {
    await using server = await setUp({}, { tokens: true });
    const text = get("ops.internal").replace(
      "\r\n\r\n",
      "\r\nAuthorization: Bearer reader-token-0001\r\n\r\n",
    );
    expect((await rawRequest(server.console.url, text)).answer).toMatch(/^HTTP\/1\.1 200 /);
  });
});

describe("the WebSocket", () => {
  it("refuses pages of other sites, and takes its own and those that are allowed", async () => {
    await using server = await setUp({}, { allowedOrigins: ["https://ops.example"] });
    for (const origin of ["https://evil.example", "null", `${server.console.url}.evil.example`])
      await expect(server.open({ origin })).rejects.toThrow("403");
    for (const origin of [server.console.url, "https://ops.example"]) {
      const page = await server.open({ origin });
      await page.until(() => expect(page.received[0]).toHaveProperty("welcome"));
    }
  });

  it.each([
    "/",
    "//",
    "/ws",
    "/ws/broadcasts",
    "http://[/ws/broadcast",
    "/ws/broadcast/../x",
  ])("is found nowhere else: an upgrade of %s is refused, and the console goes on", async (path) => {
    await using server = await setUp();
    const { answer } = await rawRequest(server.console.url, upgrade(path));
    expect(answer).toMatch(/^HTTP\/1\.1 40[04] /);
    expect((await server.ask("/health/live")).status).toBe(200);
  });

  it("survives those who reset the connection in the middle of an upgrade that is refused", async () => {
    await using server = await setUp();
    const { hostname, port } = new URL(server.console.url);
    for (let attempt = 0; attempt < 50; attempt += 1) {
      await new Promise<void>((resolve) => {
        const socket = connect(Number(port), hostname, () => {
          socket.write(upgrade("/ws/broadcast", "Origin: https://evil.example\r\n"), () =>
            socket.resetAndDestroy(),
          );
        });
        socket.on("error", () => undefined);
        socket.on("close", () => resolve());
      });
    }
    // An error that nobody hears would have ended this process.
    expect((await server.ask("/health/live")).status).toBe(200);
  });
});
