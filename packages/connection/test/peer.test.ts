import { silentLogger, systemClock } from "@holdfast/kernel";
import { PROTOCOL_VERSION } from "@holdfast/protocol";
import { expectNoLeaks } from "@holdfast/testkit/vitest";
import { describe, expect, it, vi } from "vitest";
import { createHandlers, createMemoryNetwork, type Transport, tcpTransport } from "../src/index.ts";
import { capturing, echo, note, operate, pair, wait } from "./fixture.ts";

expectNoLeaks();

const TRANSPORTS: readonly { readonly name: string; readonly create: () => Transport }[] = [
  { name: "memory", create: () => createMemoryNetwork({ clock: systemClock }) },
  { name: "tcp", create: () => tcpTransport() },
];

const code = (value: string) => expect.objectContaining({ code: value });

describe.each(TRANSPORTS)("a peer over $name", ({ create }) => {
  it("answers requests in both directions and knows who is there", async () => {
    await using both = await pair(create());
    expect(await both.client.request(echo, { text: "ab", repeat: 2 })).toEqual({ text: "abab" });
    await vi.waitFor(() => expect(both.accepted.length).toBe(1));
    const back = both.accepted[0];
    expect(await back?.request(echo, { text: "x" })).toEqual({ text: "x" });
    expect(both.client.remote).toMatchObject({ nodeId: "server", role: "test", version: PROTOCOL_VERSION });
    expect(back?.remote).toMatchObject({ nodeId: "client", scopes: ["submit", "read", "cancel", "operate"] });
    expect(both.client.remote.features).toContain("fence_tokens");
  });

  it("gives each of many concurrent requests its own answer, in any order", async () => {
    await using both = await pair(create());
    const slow = both.client.request(wait, { key: "slow" });
    const texts = Array.from({ length: 2_000 }, (_, index) => `t${index}`);
    const answers = await Promise.all(texts.map((text) => both.client.request(echo, { text })));
    expect(answers.map(({ text }) => text)).toEqual(texts);
    both.onServer.waiting.get("slow")?.();
    expect(await slow).toEqual({ key: "slow" });
  });

  it("delivers pushes in order", async () => {
    await using both = await pair(create());
    for (let index = 0; index < 100; index += 1)
      expect(both.client.push(note, { text: `${index}` })).toBe(true);
    await vi.waitFor(() => expect(both.onServer.notes.length).toBe(100));
    expect(both.onServer.notes).toEqual(Array.from({ length: 100 }, (_, index) => `${index}`));
  });

  it("outlives a push handler that fails after it has returned, and logs why", async () => {
    const warnings: unknown[] = [];
    const handlers = createHandlers();
    handlers.onRequest(echo, async ({ text }) => ({ text }));
    handlers.onPush(note, async ({ text }) => {
      await Promise.resolve();
      throw new Error(`no room for ${text}`);
    });
    const logger = { ...silentLogger, warn: (fields: unknown) => void warnings.push(fields) };
    await using both = await pair(create(), { server: { handlers, logger } });
    both.client.push(note, { text: "a" });
    await vi.waitFor(() =>
      expect(warnings).toEqual([
        { err: expect.objectContaining({ message: "no room for a" }), peer: expect.any(String) },
      ]),
    );
    expect(await both.client.request(echo, { text: "b" })).toEqual({ text: "b" });
  });

  it.each([
    Number.NaN,
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
  ])("refuses to wait %d ms, before anything is sent", async (timeoutMs) => {
    await using both = await pair(create());
    const framesOut = both.client.traffic.framesOut;
    const refused = { code: "KERNEL_INVALID_INPUT", field: "timeoutMs", retryable: false };
    await expect(both.client.request(echo, { text: "a" }, { timeoutMs })).rejects.toMatchObject(refused);
    await expect(both.client.ping({ timeoutMs })).rejects.toMatchObject(refused);
    await expect(both.client.authenticate({ token: "t" }, { timeoutMs })).rejects.toMatchObject(refused);
    expect(both.client.traffic.framesOut).toBe(framesOut);
    expect(await both.client.request(echo, { text: "b" })).toEqual({ text: "b" });
    expect(both.onServer.calls).toEqual(["b"]);
  });

  it("refuses input that does not fit before it is sent", async () => {
    await using both = await pair(create());
    await expect(both.client.request(echo, { text: 1 } as never)).rejects.toThrowError(
      code("PROTOCOL_INVALID_MESSAGE"),
    );
    expect(both.onServer.calls).toEqual([]);
  });

  it("refuses a message that the credential does not allow, and serves the others", async () => {
    await using both = await pair(create(), {
      server: { authenticate: (credential) => (credential?.token === "secret" ? ["read"] : undefined) },
      client: { credential: { token: "secret" } },
    });
    expect(both.client.remote.scopes).toEqual(["read"]);
    await expect(both.client.request(operate, {})).rejects.toThrowError(
      code("AUTHENTICATION_PERMISSION_DENIED"),
    );
    expect(await both.client.request(echo, { text: "a" })).toEqual({ text: "a" });
  });

  it("refuses a wrong credential with one typed error", async () => {
    await expect(
      pair(create(), {
        server: { authenticate: () => undefined },
        client: { credential: { token: "wrong" } },
      }),
    ).rejects.toThrowError(code("AUTHENTICATION_FAILED"));
  });

  it("tells the handler when the asker gives up", async () => {
    await using both = await pair(create());
    const controller = new AbortController();
    const asked = both.client.request(wait, { key: "k" }, { signal: controller.signal });
    await vi.waitFor(() => expect(both.onServer.waiting.has("k")).toBe(true));
    const reason = new Error("enough");
    controller.abort(reason);
    await expect(asked).rejects.toBe(reason);
    await vi.waitFor(() => expect(both.onServer.aborted).toEqual(["k"]));
    expect(await both.client.request(echo, { text: "still here" })).toEqual({ text: "still here" });
  });

  it("ends a request at its limit, names it, and ignores the late answer", async () => {
    await using both = await pair(create());
    await expect(both.client.request(wait, { key: "k" }, { timeoutMs: 20 })).rejects.toMatchObject({
      code: "KERNEL_TIMEOUT",
      timeoutMs: 20,
      retryable: false,
    });
    both.onServer.waiting.get("k")?.();
    expect(await both.client.request(echo, { text: "a" })).toEqual({ text: "a" });
  });

  it("bounds the requests in flight", async () => {
    await using both = await pair(create(), { client: { requestsMaxCount: 2 } });
    const first = both.client.request(wait, { key: "a" });
    const second = both.client.request(wait, { key: "b" });
    await expect(both.client.request(wait, { key: "c" })).rejects.toThrowError(code("KERNEL_OVERLOADED"));
    await vi.waitFor(() => expect(both.onServer.waiting.size).toBe(2));
    for (const release of both.onServer.waiting.values()) release();
    expect(await Promise.all([first, second])).toEqual([{ key: "a" }, { key: "b" }]);
  });

  it("lets requests in flight finish when it is closed, and refuses new ones", async () => {
    await using both = await pair(create());
    const asked = both.client.request(wait, { key: "k" });
    await vi.waitFor(() => expect(both.onServer.waiting.has("k")).toBe(true));
    const closing = both.client.close();
    await expect(both.client.request(echo, { text: "late" })).rejects.toThrowError(code("KERNEL_CLOSED"));
    both.onServer.waiting.get("k")?.();
    expect(await asked).toEqual({ key: "k" });
    await closing;
    expect(both.client.isOpen).toBe(false);
    await vi.waitFor(() => expect(both.server.peers.size).toBe(0));
  });

  it("drains when the server closes: what runs is answered, new requests are told to go elsewhere", async () => {
    await using both = await pair(create());
    const asked = both.client.request(wait, { key: "k" });
    await vi.waitFor(() => expect(both.onServer.waiting.has("k")).toBe(true));
    const goodbye = vi.fn();
    both.client.onGoodbye(goodbye);
    const closing = both.server.close({ drainMs: 5_000 });
    await vi.waitFor(() => expect(goodbye).toHaveBeenCalledOnce());
    await expect(both.client.request(echo, { text: "late" })).rejects.toMatchObject({
      code: "CONNECTION_DRAINING",
      retryable: true,
    });
    both.onServer.waiting.get("k")?.();
    expect(await asked).toEqual({ key: "k" });
    await closing;
  });

  it("fails what is in flight when the connection breaks, retryable only where repeating is safe", async () => {
    const { transport, links } = capturing(create());
    await using both = await pair(transport);
    const unsafe = both.client.request(wait, { key: "k" });
    await vi.waitFor(() => expect(both.onServer.waiting.has("k")).toBe(true));
    const safe = both.client.request(echo, { text: "a" });
    links[0]?.destroy(new Error("cut"));
    await expect(unsafe).rejects.toMatchObject({ code: "CONNECTION_LOST", retryable: false });
    await expect(safe).rejects.toMatchObject({ code: "CONNECTION_LOST", retryable: true });
    await vi.waitFor(() => expect(both.onServer.aborted).toEqual(["k"]));
    expect(both.client.isOpen).toBe(false);
    const onClose = vi.fn();
    both.client.onClose(onClose);
    expect(onClose).toHaveBeenCalledOnce();
    await expect(both.client.request(echo, { text: "a" })).rejects.toThrowError(code("CONNECTION_LOST"));
  });
});
