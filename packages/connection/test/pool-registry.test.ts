import { VirtualClock } from "@holdfast/kernel/testing";
import { expectNoLeaks } from "@holdfast/testkit/vitest";
import { describe, expect, it } from "vitest";
import { PoolRegistry } from "../src/index.ts";
import { type FakeConnection, fakeServer } from "./pool-fixture.ts";

expectNoLeaks();

const setup = () => {
  const clock = new VirtualClock();
  const server = fakeServer(clock);
  const registry = new PoolRegistry<FakeConnection>();
  const create = (name: string, maxCount = 10, more = {}) =>
    registry.create({ name, clock, random: server.random, ...server.options, maxCount, ...more });
  return { clock, registry, create, ...server };
};

describe("PoolRegistry", () => {
  it("names the pool that exists already, and the one that does not", async () => {
    const { registry, create } = setup();
    create("users");
    expect(() => create("users")).toThrowError(
      expect.objectContaining({
        code: "CONNECTION_POOL_EXISTS",
        message: expect.stringContaining("Pool users already exists"),
      }),
    );
    await expect(registry.acquire("orders")).rejects.toMatchObject({
      code: "CONNECTION_POOL_NOT_FOUND",
      message: expect.stringContaining("Pool orders not found"),
    });
    expect(() => registry.stats("orders")).toThrowError(
      expect.objectContaining({ code: "CONNECTION_POOL_NOT_FOUND" }),
    );
    expect(registry.size("orders")).toBe(0);
    expect(registry.names).toEqual(["users"]);
  });

  it("acquires, releases and counts as the pool itself does", async () => {
    const { registry, create } = setup();
    const pool = create("users", 3);
    const lease = await registry.acquire("users");
    expect(registry.stats("users")).toEqual(pool.stats);
    expect(registry.stats("users").leased).toBe(1);
    expect(registry.size("users")).toBe(1);
    registry.release("users", lease);
    expect(pool.stats).toMatchObject({ leased: 0, idle: 1 });
    expect(() => registry.release("users", lease)).toThrowError(
      expect.objectContaining({ code: "CONNECTION_LEASE_RELEASED" }),
    );
  });

  it("rejects a lease of another pool, and ignores a pool that is gone", async () => {
    const { registry, create } = setup();
    create("users");
    create("orders");
    const lease = await registry.acquire("users");
    expect(() => registry.release("orders", lease)).toThrowError(
      expect.objectContaining({ code: "KERNEL_INVALID_INPUT", field: "lease" }),
    );
    expect(registry.stats("users").leased).toBe(1);
    registry.release("unknown", lease);
    expect(lease.isHeld).toBe(true);
  });

  it("leaves one pool alone when another is exhausted", async () => {
    const { registry, create } = setup();
    create("small", 1);
    create("large", 2);
    await registry.acquire("small");
    await expect(registry.acquire("small", { signal: AbortSignal.abort() })).rejects.toThrow();
    const leases = await Promise.all([registry.acquire("large"), registry.acquire("large")]);
    expect(leases.length).toBe(2);
  });

  it("drains and closes all pools", async () => {
    const { registry, create, open } = setup();
    create("users", 3, { minCount: 2 });
    create("orders");
    const lease = await registry.acquire("orders");
    const closing = registry.close();
    lease.release();
    await closing;
    expect(open().length).toBe(0);
    expect(registry.names).toEqual([]);
  });
});
