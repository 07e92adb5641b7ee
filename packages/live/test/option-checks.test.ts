import { createMemoryStore } from "@holdfast/coordination/memory";
import { systemClock } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import { BroadcastClient, OfflineQueue, OptimisticStore } from "../src/client/index.ts";
import { LiveServer, MemoryChannelLog, StoredChannelLog } from "../src/server/index.ts";

const serverOptions: readonly [string, object][] = [
  ["queueMaxBytes", { queueMaxBytes: Number.NaN }],
  ["queueMaxBytes", { queueMaxBytes: 1_000_000.5 }],
  ["connectionMaxCount", { connectionMaxCount: Number.NaN }],
  ["connectionMaxCount", { connectionMaxCount: -1 }],
  ["pingIntervalMs", { pingIntervalMs: Number.NaN }],
  ["pingTimeoutMs", { pingTimeoutMs: -1 }],
  ["authenticateWithinMs", { authenticateWithinMs: Number.NaN }],
  ["expiryGraceMs", { expiryGraceMs: -1 }],
  ["hookTimeoutMs", { hookTimeoutMs: Number.POSITIVE_INFINITY }],
  ["limits.channelMaxCount", { limits: { channelMaxCount: Number.NaN } }],
  ["limits.frameMaxBytes", { limits: { frameMaxBytes: 1.5 } }],
  ["limits.eventMaxBytes", { limits: { eventMaxBytes: Number.NaN } }],
];

const logOptions: readonly [string, object][] = [
  ["historyMaxCount", { historyMaxCount: Number.NaN }],
  ["historyMaxAgeMs", { historyMaxAgeMs: 0 }],
  ["positionTtlMs", { positionTtlMs: Number.NaN }],
  ["channelMaxCount", { channelMaxCount: 0 }],
  ["idempotencyTtlMs", { idempotencyTtlMs: -1 }],
  ["idempotencyMaxCount", { idempotencyMaxCount: Number.NaN }],
];

describe("an option that is out of range is refused by its name, before anything begins:", () => {
  it.each(serverOptions)("%s of a server, %o", async (field, options) => {
    await using log = new MemoryChannelLog();
    expect(() => new LiveServer({ log, origins: [], ...options })).toThrow(
      expect.objectContaining({ code: "KERNEL_INVALID_INPUT", field }),
    );
  });

  it.each(logOptions)("%s of a memory log, %o", (field, options) => {
    expect(() => new MemoryChannelLog(options)).toThrow(expect.objectContaining({ field }));
  });

  it.each([Number.NaN, 0, 1.5])("historyMaxCount of a stored log, %s", async (historyMaxCount) => {
    await using store = createMemoryStore({ clock: systemClock });
    expect(() => new StoredChannelLog({ log: store.log, historyMaxCount })).toThrow(
      expect.objectContaining({ field: "historyMaxCount" }),
    );
  });

  it.each([
    ["offlineQueue.maxCount", { maxCount: Number.NaN }],
    ["offlineQueue.retryMs", { retryMs: Number.NaN }],
    ["offlineQueue.retryMs", { retryMs: 0 }],
  ])("%s, %o", (field, options) => {
    expect(() => new OfflineQueue(options)).toThrow(expect.objectContaining({ field }));
  });

  it.each([
    ["optimisticStore.pendingMaxCount", { pendingMaxCount: Number.NaN }],
    ["optimisticStore.settleWithinMs", { settleWithinMs: Number.NaN }],
    ["optimisticStore.tabTtlMs", { tabTtlMs: -1 }],
  ])("%s, %o", (field, options) => {
    expect(() => new OptimisticStore({ mutators: {}, ...options })).toThrow(
      expect.objectContaining({ field }),
    );
  });

  it("the position after which a subscription begins", () => {
    const client = new BroadcastClient("ws://localhost/none", { tabs: false });
    expect(() => client.subscribe("order", () => undefined, { after: { epoch: "1", offset: "x" } })).toThrow(
      expect.objectContaining({ code: "KERNEL_INVALID_INPUT", field: "after" }),
    );
  });
});
