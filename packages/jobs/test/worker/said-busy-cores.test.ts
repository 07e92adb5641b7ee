import { expect, it } from "vitest";
import { createScene } from "./worker-scene.ts";

it("a worker says to every manager how many cores are busy for long, whoever gave it the shards", async () => {
  const { tasks, managers, startWorker, assignment, until, clock } = await createScene({ managerCount: 2 });
  const worker = await startWorker({ cores: 4 });
  await until(() => worker.stats().managers.length === 2);
  const said = () => managers.map(({ registrations }) => registrations.map(({ busyCores }) => busyCores));
  tasks.add(...Array.from({ length: 3 }, (_, shard) => assignment(shard, { input: { ms: 20_000 } })));
  await until(() => said().every((counts) => counts.at(-1) === 3), 10_000);
  expect(worker.stats().busyCores).toBe(3);
  await until(() => said().every((counts) => counts.at(-1) === 0), 30_000);
  // Shards that follow each other are no news.
  const shards = Array.from({ length: 100 }, (_, index) => index + 3);
  tasks.add(...shards.map((shard) => assignment(shard, { input: { ms: 400 } })));
  await until(() => tasks.outcomes.length === 103);
  expect(new Set(said().flat())).toEqual(new Set([0, 3]));
  await Promise.all([worker.kill(), clock.advance(1_000)]);
});
