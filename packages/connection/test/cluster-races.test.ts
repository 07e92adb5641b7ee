import { deferred, OverloadedError } from "@holdfast/kernel";
import { defineStream } from "@holdfast/protocol/contract";
import { expectNoLeaks } from "@holdfast/testkit/vitest";
import { describe, expect, it, vi } from "vitest";
import { z } from "zod";
import type { NodePicker } from "../src/index.ts";
import { cluster } from "./cluster-fixture.ts";
import { echo, wait } from "./fixture.ts";

expectNoLeaks();

/** One number, and an end when the test says so. */
const feed = defineStream({
  name: "test.feed",
  scope: "read",
  priority: "normal",
  idempotent: true,
  input: z.object({}),
  item: z.number(),
});

/** Prefers the node that comes first in the list of hosts. */
const firstOfAll: NodePicker = (candidates) =>
  candidates.reduce((best, each) => (each.nodeId < best.nodeId ? each : best));

describe("a health check", () => {
  it("that its caller gives up costs the requests on the same connection nothing", async () => {
    const { client, clock, node, settle } = await cluster(1);
    const asked = client.request(wait, { key: "k" });
    await clock.advance(10);
    node(1).isFrozen = true;
    const controller = new AbortController();
    const checking = client.checkHealth({ signal: controller.signal });
    await clock.advance(10);
    const reason = new Error("not needed");
    controller.abort(reason);
    await expect(checking).rejects.toBe(reason);
    node(1).isFrozen = false;
    node(1).waiting.get("k")?.();
    expect(await settle(asked)).toEqual({ key: "k" });
    await settle(client.disconnect());
  });

  it.each([
    Number.NaN,
    Number.POSITIVE_INFINITY,
    0,
    -1,
    0.5,
  ])("of %d ms is refused, and costs those requests nothing", async (timeoutMs) => {
    const { client, clock, node, settle } = await cluster(1);
    const asked = client.request(wait, { key: "k" });
    const answered = expect(asked).resolves.toEqual({ key: "k" });
    await clock.advance(10);
    await expect(client.checkHealth({ timeoutMs })).rejects.toMatchObject({
      code: "KERNEL_INVALID_INPUT",
      field: "timeoutMs",
      retryable: false,
    });
    await clock.advance(10);
    node(1).waiting.get("k")?.();
    await settle(asked);
    await answered;
    expect(client.health).toMatchObject([{ isHealthy: true, failuresInRow: 0 }]);
    await settle(client.disconnect());
  });

  it("tells what is known of a node and hands out nothing of the client", async () => {
    const { client, settle } = await cluster(1);
    const { nodes } = await settle(client.checkHealth());
    const fields = ["nodeId", "host", "isHealthy", "isHeld", "isObservedHealthy"];
    const all = [...fields, "lastCheckAt", "failuresInRow", "ejectionCount"];
    expect(nodes.map((node) => Object.keys(node))).toEqual([all]);
    expect(client.health.map((node) => Object.keys(node))).toEqual([all]);
    await settle(client.disconnect());
  });
});

describe("a client that is closed", () => {
  it("ends the calls that pause before they are tried again, as closed and without a timer", async () => {
    const { client, clock, node, settle } = await cluster(1);
    await node(1).kill();
    node(1).register = (handlers) => handlers.onStream(feed, async function* () {});
    await node(1).start();
    await settle(client.connect());
    const hint = { retryAfterMs: 30_000 };
    for (let count = 0; count < 3; count += 1) node(1).refusals.push(new OverloadedError("node", 1, hint));
    const asked = [
      client.request(echo, { text: "a" }),
      client.request(echo, { text: "b" }, { deadlineMs: 60_000 }),
      client.stream(feed, {}).next(),
    ];
    const closed = asked.map((call) =>
      expect(call).rejects.toMatchObject({ code: "CONNECTION_POOL_CLOSED" }),
    );
    await clock.advance(100);
    expect(client.stats.retries).toMatchObject({ inFlightCount: 3, attemptCount: 3 });
    await settle(client.disconnect());
    await Promise.all(closed);
    expect(clock.monotonicNow()).toBeLessThan(1_000);
    expect(node(1).calls).toEqual([]);
    await node(1).kill();
    await clock.advance(0);
    expect(clock.pendingCount).toBe(0);
  });

  it("does not try again what fails while it drains, and says why it failed", async () => {
    const { client, clock, node, settle } = await cluster(1);
    await settle(client.connect());
    const asked = expect(client.request(echo, { text: "a" }, { timeoutMs: 50 })).rejects.toMatchObject({
      code: "KERNEL_TIMEOUT",
    });
    node(1).delayMs = 1_000;
    await clock.advance(10);
    const retrying = vi.fn();
    client.events.on("retrying", retrying);
    await settle(client.disconnect());
    await asked;
    expect(retrying).not.toHaveBeenCalled();
  });
});

describe("a node that is removed", () => {
  it("while a request waits for its connection leaves the request to another", async () => {
    const { client, clock, node, settle } = await cluster(2, { picker: firstOfAll });
    node(1).isFrozen = true;
    const asked = client.request(echo, { text: "a" });
    const leased = client.lease();
    await clock.advance(10);
    client.removeHost("n1:7000");
    expect(await settle(asked)).toEqual({ text: "a" });
    const lease = await settle(leased);
    expect(lease.nodeId).toBe(2);
    lease.release();
    expect(node(2).calls.length).toBe(1);
    await settle(client.disconnect());
  });
});

describe("the one call that a node gets after its ejection", () => {
  it("is given to another call when it was never sent", async () => {
    const { client, clock, node, settle } = await cluster(2, { picker: firstOfAll, requestsMaxCount: 1 });
    const ending = deferred<void>();
    await node(1).kill();
    node(1).register = (handlers) =>
      handlers.onStream(feed, async function* () {
        yield 1;
        await ending.promise;
      });
    await node(1).start();
    const long = client.stream(feed, {});
    expect(await settle(long.next())).toMatchObject({ value: 1 });
    for (let failure = 1; failure <= 3; failure += 1) {
      const lease = await settle(client.lease());
      await expect(settle(lease.request(wait, { key: "late" }, { timeoutMs: 10 }))).rejects.toMatchObject({
        code: "KERNEL_TIMEOUT",
      });
    }
    expect(client.health[0]).toMatchObject({ isObservedHealthy: false });
    await clock.advance(31_000);
    // The connection of the first node is full, so this one is answered by the second.
    await settle(client.request(echo, { text: "elsewhere" }));
    expect(node(2).calls.map(({ text }) => text)).toEqual(["elsewhere"]);
    ending.resolve();
    expect(await settle(long.next())).toMatchObject({ done: true });
    await settle(client.request(echo, { text: "back" }));
    expect(node(1).calls.at(-1)?.text).toBe("back");
    expect(client.health[0]).toMatchObject({ isObservedHealthy: true });
    await settle(client.disconnect());
  });
});
