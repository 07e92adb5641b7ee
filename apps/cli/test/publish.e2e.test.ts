import { BroadcastClient } from "@holdfast/live/client";
import { makeTempDirectory } from "@holdfast/testkit";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { WebSocket } from "ws";
import { askHoldfast, runHoldfast, startDev } from "./holdfast-command.ts";

describe("holdfast publish", () => {
  let context: Awaited<ReturnType<typeof setUp>>;
  const setUp = async () => {
    const directory = await makeTempDirectory("publish");
    return { directory, ...(await startDev(["--port", "0", "--data-dir", `${directory.path}/data`])) };
  };
  beforeAll(async () => {
    context = await setUp();
  });
  afterAll(async () => {
    await context.dev.stop();
    await context.directory[Symbol.asyncDispose]();
  });

  it("brings an event to whoever follows the channel, once for one key", async () => {
    const url = context.ready.console;
    const client = new BroadcastClient(`${url.replace("http", "ws")}/ws/broadcast`, {
      webSocket: WebSocket as never,
      tabs: false,
    });
    const seen: unknown[] = [];
    client.subscribe("order", ({ event, payload }) => seen.push([event, payload]));
    client.connect();
    await client.ready("order");
    const publish = () =>
      askHoldfast<{ offset: string; subscriberCount: number }>([
        "publish",
        "order",
        "created",
        '{"entity_id":"42"}',
        "--url",
        url,
        "--key",
        "k",
      ]);
    expect(await publish()).toMatchObject({ offset: "1", subscriberCount: 1 });
    expect(await publish()).toMatchObject({ offset: "1" });
    await vi.waitFor(() => expect(seen).toEqual([["created", { entity_id: "42" }]]));
    client.disconnect();
  });

  it("says what is wrong with a channel of the cluster, a payload that is no object, and an address without a server", async () => {
    const url = context.ready.console;
    const cluster = await runHoldfast(["publish", "cluster", "x", "--url", url, "--json"]);
    expect([cluster.code, cluster.output]).toEqual([1, expect.stringContaining("LIVE_FORBIDDEN")]);
    const list = await runHoldfast(["publish", "a", "x", "[1]", "--url", url]);
    expect([list.code, list.output]).toEqual([2, expect.stringContaining("must be an object")]);
    const nowhere = await runHoldfast(["publish", "a", "x", "--url", "http://127.0.0.1:1"]);
    expect([nowhere.code, nowhere.output]).toEqual([1, expect.stringContaining("no live server answers")]);
  });
});
