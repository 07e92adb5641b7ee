import { median } from "../measure/median.ts";

/** One queue library with its best settings, on an empty queue of its own. */
export interface QueuePeer extends AsyncDisposable {
  /** Adds so many tasks, in the largest pieces that suit it. */
  add(count: number, payload: string): Promise<void>;
  /** Starts its worker, whose handler does nothing but call `onRun`. Resolves when it works. */
  start(onRun: () => void): Promise<AsyncDisposable>;
  /** Tasks that are still in the store, waiting or running. */
  remaining(): Promise<number>;
  /** Adds one task, as soon as it can. For the latency bench. */
  addOne(payload: string): Promise<void>;
}

/** Tasks in one call, for those who take any number. */
export const ADD_COUNT = 1_000;

export interface QueueFigures {
  /** Tasks a second. */
  readonly add: number;
  readonly run: number;
  readonly both: number;
}

const now = (): number => performance.now();

const untilEmpty = async (peer: QueuePeer): Promise<void> => {
  while ((await peer.remaining()) > 0) await new Promise((resolve) => setTimeout(resolve, 2));
};

/**
 * One round of a peer: so many tasks added with no worker there; then run until the store holds none of them; then so
 * many added while the worker runs, until the store holds none. What a handler has seen does not count before the
 * store has.
 */
export const measureRound = async (
  peer: QueuePeer,
  count: number,
  payload: string,
): Promise<QueueFigures> => {
  globalThis.gc?.();
  let startedAt = now();
  await peer.add(count, payload);
  const addMs = now() - startedAt;
  const running = (expected: number): { readonly onRun: () => void; readonly done: Promise<void> } => {
    let seen = 0;
    let resolve = (): void => undefined;
    const done = new Promise<void>((onResolve) => {
      resolve = onResolve;
    });
    return {
      onRun: () => {
        seen += 1;
        if (seen === expected) resolve();
      },
      done,
    };
  };
  const alone = running(count);
  startedAt = now();
  let worker = await peer.start(alone.onRun);
  await alone.done;
  await untilEmpty(peer);
  const runMs = now() - startedAt;
  await worker[Symbol.asyncDispose]();
  const together = running(count);
  worker = await peer.start(together.onRun);
  startedAt = now();
  await peer.add(count, payload);
  await together.done;
  await untilEmpty(peer);
  const bothMs = now() - startedAt;
  await worker[Symbol.asyncDispose]();
  const perSecond = (ms: number): number => Math.round((1000 * count) / ms);
  return { add: perSecond(addMs), run: perSecond(runMs), both: perSecond(bothMs) };
};

/** Rounds in turns, after one that only warms up; the median of each figure. */
export const compareQueues = async <Name extends string>(
  peers: Readonly<Record<Name, QueuePeer>>,
  options: { readonly count: number; readonly payload: string; readonly rounds: number },
): Promise<Readonly<Record<Name, QueueFigures>>> => {
  const names = Object.keys(peers) as Name[];
  const rounds = new Map<Name, QueueFigures[]>(names.map((name) => [name, []]));
  for (let round = -1; round < options.rounds; round += 1) {
    for (let turn = 0; turn < names.length; turn += 1) {
      const name = names[(turn + round + names.length) % names.length] as Name;
      const figures = await measureRound(peers[name], options.count, options.payload);
      if (round >= 0) rounds.get(name)?.push(figures);
    }
  }
  return Object.fromEntries(
    names.map((name) => {
      const all = rounds.get(name) ?? [];
      const of = (key: keyof QueueFigures): number => median(all.map((figures) => figures[key]));
      return [name, { add: of("add"), run: of("run"), both: of("both") }];
    }),
  ) as unknown as Record<Name, QueueFigures>;
};
