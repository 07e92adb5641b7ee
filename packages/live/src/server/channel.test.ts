import type { Position } from "@holdfast/coordination";
import { silentLogger } from "@holdfast/kernel";
import { expect, it } from "vitest";
import { Channel } from "./channel.ts";
import type { ChannelEvent, ChannelLog } from "./channel-log.ts";

const at = (epoch: bigint, offset: bigint): Position => ({ epoch, offset });
const eventAt = (position: Position): ChannelEvent => ({
  channel: "a",
  event: "e",
  payloadText: "{}",
  id: `${position.epoch}:${position.offset}`,
  position,
  ts: 0,
});

/** A channel whose line stands at (1, 5), and what one subscriber of it is told. */
const open = async () => {
  const follow: ChannelLog["follow"] = async () => ({
    bounds: { head: at(1n, 5n), trimmedTo: 0n },
    close: () => undefined,
  });
  const channel = new Channel("a", {
    log: { follow } as Partial<ChannelLog> as ChannelLog,
    logger: silentLogger,
    framesOf: () => Buffer.alloc(0),
  });
  await channel.opened;
  const told: string[] = [];
  const subscriber = {
    onEvents: (events: readonly ChannelEvent[]) => told.push(...events.map(({ id }) => id)),
    onReset: (reason: string) => told.push(reason),
  };
  const deliver = (...positions: readonly Position[]): void => {
    channel.onEvents(positions.map(eventAt));
    channel.flush();
  };
  return { channel, told, subscriber, deliver };
};

it("lets who resumed in a later life of the channel wait for the line to come there, and tells it nothing twice", async () => {
  const { channel, told, subscriber, deliver } = await open();
  expect(channel.join(subscriber, at(2n, 1n))).toBe(true);
  deliver(at(1n, 6n));
  channel.onReset("epoch-changed", { head: at(2n, 0n), trimmedTo: 0n });
  deliver(at(2n, 1n), at(2n, 2n));
  expect(told).toEqual(["2:2"]);
});

it("lets who resumed at the very beginning of that life go on from there", async () => {
  const { channel, told, subscriber, deliver } = await open();
  expect(channel.join(subscriber, at(2n, 0n))).toBe(true);
  channel.onReset("epoch-changed", { head: at(2n, 0n), trimmedTo: 0n });
  deliver(at(2n, 1n));
  expect(told).toEqual(["2:1"]);
});

it("tells who was ahead of the line when the log fell behind, when that life is over, and when what comes next was trimmed", async () => {
  for (const [reason, head] of [
    ["ahead-of-head", at(1n, 4n)],
    ["epoch-changed", at(2n, 0n)],
    ["trimmed", at(1n, 9n)],
  ] as const) {
    const { channel, told, subscriber } = await open();
    channel.join(subscriber, at(1n, 7n));
    channel.onReset(reason, { head, trimmedTo: 0n });
    expect(told).toEqual([reason]);
  }
});

it("sends who comes with a position of an earlier life, or from before the line, to read on first", async () => {
  const { channel, subscriber } = await open();
  expect(channel.join(subscriber, at(0n, 9n))).toBe(false);
  expect(channel.join(subscriber, at(1n, 4n))).toBe(false);
});
