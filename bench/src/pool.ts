import { Pool } from "@holdfast/connection";
import { systemClock, systemRandom } from "@holdfast/kernel";
import { createPool } from "generic-pool";
import { Pool as TarnPool } from "tarn";
import type { Bench, BenchResult } from "./measure/bench-result.ts";
import { type Contender, interleaved } from "./measure/interleaved.ts";

const TARN = "tarn@3.1.2";
const GENERIC = "generic-pool@3.9.0";
const SIZE = 10;

interface Resource {
  readonly number: number;
}

let madeCount = 0;
const make = async (): Promise<Resource> => {
  madeCount += 1;
  return { number: madeCount };
};

/** Takes a resource, uses it for one turn of promise callbacks, and gives it back. */
interface Lender {
  readonly take: () => Promise<() => void>;
  readonly close: () => Promise<unknown>;
}

const ours = (): Lender => {
  const pool = new Pool<Resource>({
    name: "bench",
    clock: systemClock,
    random: systemRandom,
    maxCount: SIZE,
    create: make,
    destroy: () => undefined,
    validate: async () => true,
  });
  return {
    take: async () => {
      const lease = await pool.acquire();
      return () => lease.release();
    },
    close: () => pool.close(),
  };
};

const tarn = (): Lender => {
  const pool = new TarnPool<Resource>({
    min: 0,
    max: SIZE,
    create: make,
    destroy: () => undefined,
    validate: () => true,
  });
  return {
    take: async () => {
      const resource = await pool.acquire().promise;
      return () => void pool.release(resource);
    },
    close: () => pool.destroy(),
  };
};

const generic = (): Lender => {
  const pool = createPool<Resource>({ create: make, destroy: async () => undefined }, { min: 0, max: SIZE });
  return {
    take: async () => {
      const resource = await pool.acquire();
      return () => void pool.release(resource);
    },
    close: async () => {
      await pool.drain();
      await pool.clear();
    },
  };
};

const loop =
  (lender: Lender, workerCount: number): Contender =>
  async (count) => {
    let left = count;
    const worker = async (): Promise<void> => {
      while (left > 0) {
        left -= 1;
        const giveBack = await lender.take();
        await undefined;
        giveBack();
      }
    };
    await Promise.all(Array.from({ length: workerCount }, worker));
  };

const compare = async (workerCount: number, count: number, notes: string): Promise<BenchResult> => {
  const lenders = { ours: ours(), tarn: tarn(), generic: generic() };
  const took = await interleaved(
    {
      ours: loop(lenders.ours, workerCount),
      tarn: loop(lenders.tarn, workerCount),
      generic: loop(lenders.generic, workerCount),
    },
    { count },
  );
  await Promise.all(Object.values(lenders).map(({ close }) => close()));
  return {
    unit: "acquires/s",
    ours: Math.round(1e9 / took.ours),
    peers: { [TARN]: Math.round(1e9 / took.tarn), [GENERIC]: Math.round(1e9 / took.generic) },
    higherIsBetter: true,
    notes: `${notes} Median of 9 interleaved rounds; 10 resources, no I/O.`,
  };
};

const bench: Bench = {
  name: "pool",
  description: "How often a second can a resource be taken from a pool and given back?",
  run: async () => [
    await compare(1, 50_000, "One worker, so a resource is always free."),
    await compare(100, 50_000, "100 workers over 10 resources, so nearly every acquire waits its turn."),
  ],
};

export default bench;
