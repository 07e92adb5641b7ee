import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it, vi } from "vitest";
import { ClientConnection } from "../src/server/client-connection.ts";
import { MemoryChannelLog } from "../src/server/index.ts";
import type { Outlet } from "../src/server/outlet.ts";
import { ServerCore } from "../src/server/server-core.ts";
import { toSettings } from "../src/server/server-options.ts";
import { textFrame } from "../src/server/text-frame.ts";

describe("broadcasting to many", () => {
  it("serialises and frames an event once for 10,000 subscribers, and a stalled one delays nobody", async () => {
    const clock = new VirtualClock();
    await using log = new MemoryChannelLog({ clock });
    const core = new ServerCore(toSettings({ log, origins: [], clock }));
    const frames = new Set<Buffer>();
    let writes = 0;
    const connections = Array.from({ length: 10_000 }, (_, index) => {
      const outlet: Outlet = {
        isOpen: true,
        queuedBytes: 0,
        // One that never drains: whoever waited for it would wait for ever.
        drained: () => new Promise(() => undefined),
        write: (frame) => {
          if (index === 0) return;
          writes += 1;
          frames.add(frame);
        },
        close: () => undefined,
      };
      return new ClientConnection({ core, outlet, remoteAddress: undefined, pingEngine: () => undefined });
    });
    for (const connection of connections) connection.receive('{"subscribe":["a"]}', 19);
    await clock.advance(0);
    expect(core.hub.holderCount("a")).toBe(10_000);
    const stringify = vi.spyOn(JSON, "stringify");
    await core.publish([{ channel: "a", event: "e", payload: { large: "x".repeat(1_000) } }]);
    const withPayload = stringify.mock.calls.filter(
      ([value]) => typeof value === "object" && "large" in value,
    );
    stringify.mockRestore();
    expect(withPayload).toHaveLength(1);
    await vi.waitFor(() => expect(writes).toBe(9_999));
    expect(frames.size).toBe(1);
    for (const connection of connections) connection.onClosed();
    expect(core.hub.channelCount).toBe(0);
    expect(clock.pendingCount).toBe(1);
  });

  it("writes events that come in one turn to each subscriber at once, in pieces that fill no queue", async () => {
    const clock = new VirtualClock();
    await using log = new MemoryChannelLog({ clock });
    const core = new ServerCore(toSettings({ log, origins: "*", clock }));
    const writes: number[] = [];
    const outlet: Outlet = {
      isOpen: true,
      queuedBytes: 0,
      drained: () => Promise.resolve(),
      write: (frame) => void writes.push(frame.length),
      close: () => undefined,
    };
    const connection = new ClientConnection({
      core,
      outlet,
      remoteAddress: undefined,
      pingEngine: () => undefined,
    });
    connection.receive('{"subscribe":["a"]}', 19);
    await clock.advance(0);
    for (let n = 0; n < 10; n += 1) await core.publish([{ channel: "a", event: "e", payload: { n } }]);
    await vi.waitFor(() => expect(writes).toHaveLength(1));
    const text = "x".repeat(20_000);
    for (let n = 0; n < 10; n += 1) await core.publish([{ channel: "a", event: "e", payload: { n, text } }]);
    await vi.waitFor(() => expect(writes).toHaveLength(5));
    expect(Math.max(...writes)).toBeLessThan(70_000);
    connection.onClosed();
  });

  it.each([
    0, 1, 125, 126, 65_535, 65_536, 200_000,
  ])("frames a text of %d bytes as RFC 6455 says", (length) => {
    const frame = textFrame("x".repeat(length));
    expect(frame[0]).toBe(0x81);
    if (length < 126) expect([...frame.subarray(1, 2)]).toEqual([length]);
    else if (length < 65_536) expect([frame[1], frame.readUInt16BE(2)]).toEqual([126, length]);
    else expect([frame[1], Number(frame.readBigUInt64BE(2))]).toEqual([127, length]);
    expect(frame.subarray(-length || frame.length).length).toBe(length);
  });
});
