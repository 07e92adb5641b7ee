import { seededRandom } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { expectNoLeaks } from "@holdfast/testkit/vitest";
import { describe, expect, it } from "vitest";
import { ConnectionManager, createMemoryNetwork, type NodePicker, serve } from "../src/index.ts";
import { echo, recordingHandlers } from "./fixture.ts";
import { poolSetup } from "./pool-fixture.ts";

expectNoLeaks();

describe("a pool whose connections break as soon as they are there", () => {
  it.each([
    0, 1, 900,
  ])("opens those that nobody waits for now and then, not one after the other (after %d ms)", async (brokenAfterMs) => {
    const clock = new VirtualClock();
    let openedCount = 0;
    const { pool } = poolSetup({
      clock,
      minCount: 2,
      create: async ({ onBroken }) => {
        await clock.sleep(5);
        openedCount += 1;
        const connection = { number: openedCount, isOpen: true, isValid: true, breakDown: onBroken };
        if (brokenAfterMs === 0) onBroken();
        else clock.schedule(brokenAfterMs, () => onBroken());
        return connection;
      },
    });
    await clock.advance(20_000);
    expect(openedCount).toBeGreaterThan(10);
    expect(openedCount).toBeLessThanOrEqual(2 * 22);
    const closing = pool.close();
    await clock.advance(2_000);
    await closing;
    expect(clock.pendingCount).toBe(0);
  });

  it("opens at once what is lost after it was there for a while, and what the pool let go", async () => {
    const { clock, pool, state } = poolSetup({ minCount: 1 });
    await clock.advance(1_000);
    state.connections[0]?.breakDown();
    await clock.advance(0);
    expect(state.connections.length).toBe(2);
    const lease = await pool.acquire();
    lease.destroy();
    state.connections[1]?.breakDown();
    await clock.advance(0);
    expect(state.connections.length).toBe(3);
    await pool.close();
  });
});

describe("a node that says goodbye to everyone", () => {
  const firstOfAll: NodePicker = (candidates) =>
    candidates.reduce((best, each) => (each.nodeId < best.nodeId ? each : best));

  it("costs a request one connection, is not blamed, and leaves the request to another", async () => {
    const clock = new VirtualClock();
    const transport = createMemoryNetwork({ clock, latencyMs: 1 });
    const identity = { nodeId: "n", role: "node" };
    const random = seededRandom(1);
    let greetedCount = 0;
    const leaving = await serve({
      clock,
      random,
      transport,
      identity,
      listen: "n1:7000",
      onPeer: (peer) => {
        greetedCount += 1;
        peer.close().catch(() => undefined);
      },
    });
    const { handlers, calls } = recordingHandlers();
    const staying = await serve({ clock, random, transport, identity, listen: "n2:7000", handlers });
    const hosts = ["n1:7000", "n2:7000"];
    const client = new ConnectionManager({ clock, random, transport, identity, hosts, picker: firstOfAll });
    const answer = client.request(echo, { text: "a" });
    await clock.advance(100);
    expect(calls).toEqual(["a"]);
    expect(await answer).toEqual({ text: "a" });
    expect(greetedCount).toBe(1);
    expect(client.health[0]).toMatchObject({ failuresInRow: 0 });
    const ends = [client.disconnect(), leaving.close({ drainMs: 0 }), staying.close({ drainMs: 0 })];
    await clock.advance(10_000);
    await Promise.all(ends);
  });
});
