import { inspect } from "node:util";
import { type Logger, silentLogger } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { expectNoLeaks } from "@holdfast/testkit/vitest";
import { describe, expect, it } from "vitest";
import { type Credential, createMemoryNetwork, type Grant } from "../src/index.ts";
import { capturing, echo, operate, pair } from "./fixture.ts";

expectNoLeaks();

const setup = async (authenticate: (credential: Credential | undefined) => Grant | undefined) => {
  const clock = new VirtualClock();
  const both = await pair(createMemoryNetwork({ clock }), {
    clock,
    server: { authenticate },
    client: { credential: { token: "first" } },
  });
  return { clock, both };
};

describe("a grant", () => {
  it("is good until its time and not a millisecond longer, whatever the wall clock does", async () => {
    const { clock, both } = await setup(() => ({ scopes: ["read"], expiresAt: 1_700_000_060_000 }));
    await clock.advance(60_000);
    clock.jumpWall(-86_400_000);
    expect(await both.client.request(echo, { text: "a" })).toEqual({ text: "a" });
    await clock.advance(1);
    await expect(both.client.request(echo, { text: "b" })).rejects.toMatchObject({
      code: "AUTHENTICATION_TOKEN_EXPIRED",
      retryable: false,
      details: { expiredAt: 1_700_000_060_000 },
    });
    expect(both.onServer.calls).toEqual(["a"]);
  });

  it("that ends at no time that there is is none: the credential is refused, and the reason logged", async () => {
    const seen: unknown[] = [];
    const logger: Logger = { ...silentLogger, error: (fields) => void seen.push(fields) };
    const clock = new VirtualClock();
    const authenticate = (): Grant => ({ scopes: ["read"], expiresAt: Date.parse("in an hour") });
    const refused = pair(createMemoryNetwork({ clock }), { clock, server: { authenticate, logger } });
    // Closes what should not have come about.
    refused.then((both) => both[Symbol.asyncDispose]()).catch(() => undefined);
    await expect(refused).rejects.toMatchObject({ code: "AUTHENTICATION_FAILED" });
    expect(seen).toEqual([{ err: expect.objectContaining({ field: "expiresAt" }) }]);
  });

  it("is renewed on the open connection by a fresh credential", async () => {
    const { clock, both } = await setup((credential) =>
      credential?.token === "first"
        ? { scopes: ["read"], expiresAt: 1_700_000_001_000 }
        : { scopes: ["read", "operate"] },
    );
    await clock.advance(2_000);
    await expect(both.client.request(echo, { text: "a" })).rejects.toMatchObject({
      code: "AUTHENTICATION_TOKEN_EXPIRED",
    });
    await both.client.authenticate({ token: "second" });
    expect(both.client.remote.scopes).toEqual(["read", "operate"]);
    expect(await both.client.request(echo, { text: "a" })).toEqual({ text: "a" });
    expect(await both.client.request(operate, {})).toEqual({});
  });

  it("stays as it was when a fresh credential is refused", async () => {
    const { both } = await setup((credential) =>
      credential?.token === "first" ? { scopes: ["read"] } : undefined,
    );
    await expect(both.client.authenticate({ token: "wrong" })).rejects.toMatchObject({
      code: "AUTHENTICATION_FAILED",
    });
    expect(await both.client.request(echo, { text: "a" })).toEqual({ text: "a" });
  });

  it("never shows the token in what is logged or thrown, accepted or refused", async () => {
    const token = "very-secret-token";
    const seen: string[] = [];
    const note = (fields: object, message: string): void => {
      seen.push(message, inspect(fields, { depth: 9, showHidden: true }));
    };
    const logger: Logger = { debug: note, info: note, warn: note, error: note, child: () => logger };
    const clock = new VirtualClock();
    const failed = await pair(createMemoryNetwork({ clock }), {
      clock,
      server: { authenticate: () => undefined, logger },
      client: { credential: { token }, logger },
    }).catch((error: unknown) => error);
    seen.push(inspect(failed, { depth: 9, showHidden: true }), JSON.stringify(failed));
    const both = await pair(createMemoryNetwork({ clock }), {
      clock,
      server: { logger },
      client: { credential: { token }, logger },
    });
    seen.push(inspect(both.client, { depth: 9, showHidden: true }), inspect(both.server, { depth: 9 }));
    await both[Symbol.asyncDispose]();
    expect(seen.length).toBeGreaterThan(4);
    for (const text of seen) expect(text).not.toContain(token);
  });
});

describe("a ping", () => {
  it("measures the time to the other side and back", async () => {
    const clock = new VirtualClock();
    const making = pair(createMemoryNetwork({ clock, latencyMs: 7 }), { clock });
    await clock.advance(100);
    const both = await making;
    const ping = both.client.ping();
    await clock.advance(14);
    expect(await ping).toBe(14);
  });

  it("ends at its limit, on abort, and with the connection", async () => {
    const clock = new VirtualClock();
    const { transport, links } = capturing(createMemoryNetwork({ clock, latencyMs: 500 }));
    const making = pair(transport, { clock });
    await clock.advance(10_000);
    const both = await making;
    const late = expect(both.client.ping({ timeoutMs: 50 })).rejects.toMatchObject({
      code: "KERNEL_TIMEOUT",
    });
    const controller = new AbortController();
    const aborted = expect(both.client.ping({ signal: controller.signal })).rejects.toThrow("enough");
    controller.abort(new Error("enough"));
    const lost = expect(both.client.ping()).rejects.toMatchObject({ code: "CONNECTION_LOST" });
    await clock.advance(50);
    await late;
    await aborted;
    links[0]?.destroy(new Error("cut"));
    await lost;
  });
});
