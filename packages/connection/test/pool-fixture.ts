import { type Random, seededRandom } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { expect } from "vitest";
import { Pool, type PoolOptions } from "../src/index.ts";

export interface FakeConnection {
  readonly number: number;
  isOpen: boolean;
  isValid: boolean;
  /** Breaks the connection as its socket would. */
  readonly breakDown: (error?: Error) => void;
}

/** A server that hands out fake connections and remembers them. */
export const fakeServer = (clock: VirtualClock, random: Random = seededRandom(1)) => {
  const state = {
    connections: [] as FakeConnection[],
    openMs: 0,
    openingNow: 0,
    openingMax: 0,
    openMax: 0,
    failure: undefined as Error | undefined,
  };
  const open = (): readonly FakeConnection[] => state.connections.filter(({ isOpen }) => isOpen);
  const options: Pick<PoolOptions<FakeConnection>, "create" | "destroy" | "validate"> = {
    create: async ({ onBroken }) => {
      state.openingNow += 1;
      state.openingMax = Math.max(state.openingMax, state.openingNow);
      try {
        if (state.openMs > 0) await clock.sleep(state.openMs);
        if (state.failure !== undefined) throw state.failure;
      } finally {
        state.openingNow -= 1;
      }
      const connection: FakeConnection = {
        number: state.connections.length + 1,
        isOpen: true,
        isValid: true,
        breakDown: (error) => {
          connection.isOpen = false;
          onBroken(error);
        },
      };
      state.connections.push(connection);
      state.openMax = Math.max(state.openMax, open().length);
      return connection;
    },
    destroy: (connection) => {
      connection.isOpen = false;
    },
    validate: async (connection) => connection.isValid && connection.isOpen,
  };
  return { state, open, options, random };
};

export const poolSetup = (options: Partial<PoolOptions<FakeConnection>> = {}) => {
  const clock = new VirtualClock();
  const server = fakeServer(clock);
  const pool = new Pool<FakeConnection>({
    name: "main",
    clock,
    random: server.random,
    ...server.options,
    ...options,
  });
  return { clock, pool, ...server };
};

export const expectConsistent = (pool: Pool<FakeConnection>): void => {
  const { idle, leased, maxCount, opening, resetting, total } = pool.stats;
  expect(idle + leased + opening + resetting).toBe(total);
  expect(total).toBeLessThanOrEqual(maxCount);
  for (const count of [idle, leased, opening, resetting]) expect(count).toBeGreaterThanOrEqual(0);
};
