import { once } from "node:events";
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { systemClock } from "@holdfast/kernel";
import { afterEach, describe, expect, it, vi } from "vitest";
import { Meter } from "../measurements.ts";
import { createHttpAction } from "./http-action.ts";
import { generateLoad } from "./load-generator.ts";

const servers: Server[] = [];

afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
    await once(server, "close");
  }
});

const listen = async (
  onRequest: RequestListener,
): Promise<{ readonly url: string; readonly server: Server }> => {
  const server = createServer(onRequest).listen(0, "127.0.0.1");
  servers.push(server);
  await once(server, "listening");
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/path?q=1` };
};

const never = new AbortController().signal;

describe("an HTTP action", () => {
  it("sends what it was told and ends with the whole answer, over one kept connection", async () => {
    const seen: unknown[] = [];
    let connectionCount = 0;
    const { url, server } = await listen(async (request, response) => {
      let body = "";
      for await (const chunk of request) body += chunk;
      seen.push([request.method, request.url, request.headers["x-test"], body]);
      response.end("x".repeat(100_000));
    });
    server.on("connection", () => {
      connectionCount += 1;
    });
    let counter = 0;
    const action = await createHttpAction({
      url,
      method: "POST",
      headers: { "x-test": "yes" },
      body: () => {
        counter += 1;
        return `body ${counter}`;
      },
    });
    await action(never);
    await action(never);
    await action.close?.();
    expect(seen).toEqual([
      ["POST", "/path?q=1", "yes", "body 1"],
      ["POST", "/path?q=1", "yes", "body 2"],
    ]);
    expect(connectionCount).toBe(1);
  });

  it("never opens more connections than allowed; the others wait in order", async () => {
    let open = 0;
    let most = 0;
    const { url } = await listen((_request, response) => {
      open += 1;
      most = Math.max(most, open);
      setTimeout(() => {
        open -= 1;
        response.end();
      }, 5);
    });
    const action = await createHttpAction({ url, connections: 3 });
    await Promise.all(Array.from({ length: 20 }, () => action(never)));
    await action.close?.();
    expect(most).toBe(3);
  });

  it("fails by status, and goes on", async () => {
    let status = 503;
    const { url } = await listen((_request, response) => {
      response.statusCode = status;
      response.end("answer");
    });
    const action = await createHttpAction({ url });
    await expect(action(never)).rejects.toMatchObject({ code: "HTTP_503" });
    status = 399;
    await action(never);
    await action.close?.();
    const strict = await createHttpAction({ url, isExpected: (answered) => answered === 200 });
    await expect(strict(never)).rejects.toMatchObject({ code: "HTTP_399" });
    await strict.close?.();
  });

  it("fails with the code of the network, and connects again afterwards", async () => {
    const { url } = await listen((request, response) => {
      if (request.headers["x-break"] === undefined) response.end();
      else request.socket.destroy();
    });
    const broken = await createHttpAction({ url, headers: { "x-break": "1" } });
    await expect(broken(never)).rejects.toMatchObject({
      code: expect.stringMatching(/^(UND_ERR_SOCKET|ECONNRESET)$/),
    });
    await expect(broken(never)).rejects.toBeDefined();
    await broken.close?.();
    const refused = await createHttpAction({ url: "http://127.0.0.1:1/" });
    await expect(refused(never)).rejects.toMatchObject({ code: "ECONNREFUSED" });
    await refused.close?.();
  });

  it("tells an end by callback as it does by promise", async () => {
    let status = 200;
    const { url } = await listen((_request, response) => {
      response.statusCode = status;
      response.end();
    });
    const action = await createHttpAction({ url });
    const run = (): Promise<unknown> => new Promise((resolve) => action.start?.(never, resolve));
    expect(await run()).toBeUndefined();
    status = 500;
    expect(await run()).toMatchObject({ error: { code: "HTTP_500" } });
    await action.close?.();
  });

  it("keeps its only connection when a body cannot be made", async () => {
    const { url } = await listen((_request, response) => response.end());
    let isBroken = true;
    const action = await createHttpAction({
      url,
      method: "POST",
      connections: 1,
      body: () => {
        if (isBroken) throw new Error("no body");
        return "body";
      },
    });
    await expect(action(never)).rejects.toThrow("no body");
    isBroken = false;
    await action(never);
    await action.close?.();
  });

  it("ends at once when its test is aborted, also while it waits for a connection", async () => {
    let askedCount = 0;
    const { url } = await listen(() => {
      askedCount += 1;
    });
    const action = await createHttpAction({ url, connections: 1 });
    const controller = new AbortController();
    const both = [1, 2].map(() => action(controller.signal).catch((error: unknown) => error));
    await vi.waitFor(() => expect(askedCount).toBe(1));
    controller.abort(new Error("over"));
    expect(await Promise.all(both)).toHaveLength(2);
  });

  it.each([
    ["an address that is none", { url: "no url" }, "httpAction.url"],
    ["another protocol", { url: "ftp://host/" }, "httpAction.url"],
    ["no connections", { url: "http://host/", connections: 0 }, "httpAction.connections"],
    ["no time", { url: "http://host/", timeoutMs: 0 }, "httpAction.timeoutMs"],
  ])("refuses %s and names the field", async (_what, options, field) => {
    await expect(createHttpAction(options)).rejects.toMatchObject({ field });
  });

  it("counts exactly what the server counted", async () => {
    let answered = 0;
    const { url } = await listen((_request, response) => {
      answered += 1;
      response.statusCode = answered % 10 === 0 ? 500 : 200;
      response.end("hello");
    });
    const meter = new Meter();
    const action = await createHttpAction({ url, connections: 8 });
    await generateLoad(
      { model: "closed", virtualUsers: 8, durationMs: 300 },
      {
        action,
        clock: systemClock,
        signal: never,
        meter: {
          count: (name, amount) => meter.count(name, amount),
          record: (name, value) => meter.record(name, value),
          progress: () => undefined,
        },
      },
    );
    await action.close?.();
    const { counters, histograms } = meter.totals();
    expect(counters["requests"]).toBe(answered);
    expect(counters["errors.HTTP_500"]).toBe(Math.floor(answered / 10));
    expect(histograms["latency"]?.count).toBe(answered);
  });
});
