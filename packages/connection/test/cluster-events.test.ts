import { RemoteError } from "@holdfast/kernel";
import { decodeFrame, encodeFrame, encodeValue } from "@holdfast/protocol";
import { expectNoLeaks } from "@holdfast/testkit/vitest";
import { describe, expect, it } from "vitest";
import type { ManagerEvents } from "../src/index.ts";
import { cluster } from "./cluster-fixture.ts";
import { echo } from "./fixture.ts";

expectNoLeaks();

const NAMES = [
  "connectionOpened",
  "connectionClosed",
  "nodeEjected",
  "nodeRestored",
  "nodeHeld",
  "nodeReleased",
  "nodeDraining",
  "retrying",
] as const satisfies readonly (keyof ManagerEvents)[];

describe("the events of a client", () => {
  it("tell of each opening, close, ejection, restoration, hold, retry and drain once", async () => {
    const { client, clock, node, settle } = await cluster(2, { pool: { minCount: 0 } });
    const seen: string[] = [];
    for (const name of NAMES) {
      client.events.on(name, (event) => {
        const { nodeId, reason, attempt, code } = event as Record<string, unknown>;
        seen.push([name, nodeId, reason, attempt, code].filter((part) => part !== undefined).join(" "));
      });
    }
    const taken = (): readonly string[] => seen.splice(0).sort();
    const ask = (count: number): Promise<unknown> =>
      settle(
        (async () => {
          for (let index = 0; index < count; index += 1) await client.request(echo, { text: "x" });
        })(),
      );

    await settle(client.connect());
    await ask(4);
    expect(taken()).toEqual(["connectionOpened 1", "connectionOpened 2"]);

    for (const number of [1, 2]) {
      const busy = new RemoteError({ code: "TEST_BUSY", message: "busy", retryable: true });
      node(number).failures.push(busy);
    }
    await ask(1);
    expect(taken()).toEqual(["retrying 1 TEST_BUSY", "retrying 2 TEST_BUSY"]);

    client.markUnhealthy(1);
    client.markHealthy(1);
    expect(taken()).toEqual(["nodeHeld 1", "nodeReleased 1"]);

    await node(1).kill();
    await ask(30);
    expect(taken()).toEqual(["connectionClosed 1 broken", "nodeEjected 1"]);

    await node(1).start();
    await clock.advance(32_000);
    await ask(30);
    expect(taken()).toEqual(["connectionOpened 1", "nodeRestored 1"]);

    await node(2).stop();
    await clock.advance(1);
    expect(taken()).toEqual(["connectionClosed 2 broken", "nodeDraining 2"]);

    await settle(client.disconnect());
    expect(taken()).toEqual(["connectionClosed 1 closed"]);
  });
});

describe("a node of another version", () => {
  it("is told of, and not tried again", async () => {
    const { client, clock, network, node, settle } = await cluster(1, { pool: { minCount: 0 } });
    await node(1).kill();
    let dialCount = 0;
    const frameOptions = { frameMaxBytes: 1_048_576 };
    const future = await network.listen(node(1).host, (link) => {
      dialCount += 1;
      link.onClose(() => undefined);
      link.onFrame((bytes) => {
        const { sequence } = decodeFrame(bytes, frameOptions);
        const payload = encodeValue({ version: "2.0", features: [], nodeId: "n", role: "node", address: "" });
        link.send(encodeFrame({ type: "hello", sequence, payload }, frameOptions));
      });
    });
    const retried: unknown[] = [];
    client.events.on("retrying", (event) => retried.push(event));
    await expect(settle(client.request(echo, { text: "x" }))).rejects.toMatchObject({
      code: "PROTOCOL_VERSION_MISMATCH",
      retryable: false,
      details: { remote: "2.0" },
    });
    expect(dialCount).toBe(1);
    expect(retried).toEqual([]);
    expect(client.stats.retries).toMatchObject({ attemptCount: 1, retryCount: 0 });
    await settle(client.disconnect());
    await future.close();
    await clock.advance(10_000);
    expect(clock.pendingCount).toBe(0);
  });
});
