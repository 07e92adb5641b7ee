import { describe, expect, it } from "vitest";
import type { ScriptedManager } from "./scripted-manager.ts";
import { createScene } from "./worker-scene.ts";

/** From now on its reports of progress get no answer. */
const hangOnProgress = (manager: ScriptedManager): void => {
  manager.onProgress = () => new Promise(() => undefined) as never;
};

describe("an outcome whose last figures wait for the leader of the job", () => {
  it("goes to another manager when the leader is gone, though nobody says who leads now", async () => {
    const { tasks, managers, startWorker, assignment, until, clock } = await createScene({ managerCount: 2 });
    const [leader, other] = managers as [ScriptedManager, ScriptedManager];
    const worker = await startWorker();
    await until(() => worker.stats().managers.length === 2);
    hangOnProgress(leader);
    const long = assignment(0, { workflow: "count", input: { times: 10_000 } });
    tasks.add(long, assignment(1, { workflow: "count", input: { times: 20 } }));
    // The first report hangs; the short shard ends behind it.
    await until(() => leader.progress.length > 0 && worker.stats().completedShards === 1);
    expect(tasks.outcomes).toEqual([]);
    await Promise.all([leader.stop(), clock.advance(10)]);
    await until(() => tasks.outcomes.length === 1, 20_000);
    expect(tasks.outcomes[0]).toMatchObject({ kind: "completed", shard: 1 });
    expect(other.outcomeRequestCount).toBe(1);
    await Promise.all([worker.kill(), clock.advance(1_000)]);
  });

  it("does not wait for the end of a pause that the leader asks for", async () => {
    const { tasks, manager, startWorker, assignment, until, clock } = await createScene();
    const worker = await startWorker();
    let answer: (pause: { delayMs: number; cancelled: string[] }) => void = () => undefined;
    manager.onProgress = () => new Promise((resolve) => (answer = resolve)) as never;
    const long = assignment(0, { workflow: "count", input: { times: 10_000 } });
    tasks.add(long, assignment(1, { workflow: "count", input: { times: 20 } }));
    await until(() => manager.progress.length > 0 && worker.stats().completedShards === 1);
    answer({ delayMs: 60_000, cancelled: [] });
    await until(() => tasks.outcomes.length === 1, 2_000);
    await Promise.all([worker.kill(), clock.advance(1_000)]);
  });

  it("is delivered by a worker that stops, though its figures are not yet on their way", async () => {
    const { tasks, manager, startWorker, assignment, until, clock } = await createScene();
    const worker = await startWorker();
    let answer: (pause: { delayMs: number; cancelled: string[] }) => void = () => undefined;
    manager.onProgress = () => new Promise((resolve) => (answer = resolve)) as never;
    tasks.add(assignment(1, { workflow: "count", input: { times: 20 } }));
    await until(() => worker.stats().completedShards === 1);
    let hasStopped = false;
    const stopping = worker.stop().then(() => (hasStopped = true));
    await clock.advance(1_000);
    answer({ delayMs: 0, cancelled: [] });
    await until(() => hasStopped);
    await stopping;
    expect(tasks.outcomes).toMatchObject([{ kind: "completed", shard: 1 }]);
  });
});
