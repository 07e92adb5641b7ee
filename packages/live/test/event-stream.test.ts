import { expectNoLeaks } from "@holdfast/testkit/vitest";
import { describe, expect, it, vi } from "vitest";
import { MemoryChannelLog } from "../src/server/index.ts";
import { TestLiveServer } from "../src/testing/index.ts";

interface Message {
  readonly id: string;
  readonly type: string;
  readonly data: Record<string, unknown>;
}

/** Reads a stream as an EventSource does. */
const openStream = async (server: TestLiveServer, query: string, headers: Record<string, string> = {}) => {
  const controller = new AbortController();
  const response = await fetch(`${server.httpUrl}/sse/broadcast?${query}`, {
    headers,
    signal: controller.signal,
  });
  const messages: Message[] = [];
  const read = async (): Promise<void> => {
    let text = "";
    const decoder = new TextDecoder();
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      text += decoder.decode(chunk, { stream: true });
      const parts = text.split("\n\n");
      text = parts.pop() ?? "";
      for (const part of parts) {
        const fields = Object.fromEntries(part.split("\n").map((line) => line.split(/: (.*)/s, 2)));
        if (fields["data"] === undefined) continue;
        messages.push({
          id: fields["id"],
          type: fields["event"] ?? "message",
          data: JSON.parse(fields["data"]),
        });
      }
    }
  };
  const ended = read().catch(() => undefined);
  return {
    response,
    messages,
    ended,
    events: () => messages.filter(({ type }) => type === "message").map(({ data }) => data["event"]),
    [Symbol.dispose]: () => controller.abort(),
  };
};

expectNoLeaks();

describe("server-sent events", () => {
  it("resume from Last-Event-ID without loss or repeat", async () => {
    await using server = await TestLiveServer.start();
    using first = await openStream(server, "channel=a");
    expect(first.response.headers.get("content-type")).toBe("text/event-stream");
    await vi.waitFor(() => expect(server.live.subscriberCount("a")).toBe(1));
    await server.live.broadcast("a", "one");
    await vi.waitFor(() => expect(first.events()).toEqual(["one"]));
    const lastId = first.messages.at(-1)?.id ?? "";
    expect(lastId).toMatch(/^\d+:1$/);
    first[Symbol.dispose]();
    await vi.waitFor(() => expect(server.live.subscriberCount("a")).toBe(0));
    await server.live.broadcast("a", "two");
    using second = await openStream(server, "channel=a", { "last-event-id": lastId });
    await server.live.broadcast("a", "three");
    await vi.waitFor(() => expect(second.events()).toEqual(["two", "three"]));
  });

  it("resume several channels from one id, also those that had no event", async () => {
    await using server = await TestLiveServer.start();
    using first = await openStream(server, "channel=a&channel=b");
    await vi.waitFor(() => expect(first.messages).toHaveLength(1));
    const lastId = first.messages[0]?.id ?? "";
    first[Symbol.dispose]();
    await server.live.broadcast("b", "b1");
    await server.live.broadcast("a", "a1");
    using second = await openStream(server, "channel=a&channel=b", { "last-event-id": lastId });
    await vi.waitFor(() => expect([...second.events()].sort()).toEqual(["a1", "b1"]));
  });

  it("say so when the position is lost", async () => {
    await using log = new MemoryChannelLog({ historyMaxCount: 1 });
    await using server = await TestLiveServer.start({ log });
    await server.live.broadcast("a", "one");
    const { head } = await log.bounds("a");
    for (const name of ["two", "three", "four"]) await server.live.broadcast("a", name);
    const headers = { "last-event-id": `${head.epoch}:1` };
    using stream = await openStream(server, "channel=a", headers);
    await vi.waitFor(() => expect(stream.messages.map(({ type }) => type)).toEqual(["subscribed", "reset"]));
    expect(stream.messages[1]?.data).toMatchObject({
      channel: "a",
      reason: "trimmed",
      position: { offset: "4" },
    });
  });

  it("end when the server drains, and are refused for bad names, unknown origins and missing permission", async () => {
    await using server = await TestLiveServer.start({ authorize: ({ channel }) => channel !== "closed" });
    expect((await openStream(server, "")).response.status).toBe(422);
    expect((await openStream(server, "channel=")).response.status).toBe(422);
    expect((await openStream(server, "channel=a&channel=a")).response.status).toBe(422);
    expect((await openStream(server, "channel=closed")).response.status).toBe(403);
    expect((await openStream(server, "channel=a", { origin: "https://evil.example" })).response.status).toBe(
      403,
    );
    using stream = await openStream(server, "channel=a");
    expect(server.live.stats().connectionCount).toBe(1);
    await server.live.drain({ overMs: 0 });
    await stream.ended;
    await vi.waitFor(() => expect(server.live.subscriberCount("a")).toBe(0));
  });
});
