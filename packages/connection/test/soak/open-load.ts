import { systemClock } from "@holdfast/kernel";

/**
 * Begins calls at a constant rate until the signal aborts, however slow they are, and ends when all of them have. A
 * late turn of the event loop makes up for what it missed; `dueAt` says when the call should have begun.
 */
export const openLoad = async (
  rate: number,
  begin: (number: number, dueAt: number) => Promise<void>,
  signal: AbortSignal,
): Promise<void> => {
  const running = new Set<Promise<void>>();
  const startedAt = systemClock.monotonicNow();
  let begunCount = 0;
  while (!signal.aborted) {
    const dueCount = Math.floor(((systemClock.monotonicNow() - startedAt) * rate) / 1_000);
    while (begunCount < dueCount) {
      const dueAt = startedAt + (begunCount * 1_000) / rate;
      begunCount += 1;
      const call = begin(begunCount, dueAt).finally(() => running.delete(call));
      running.add(call);
    }
    await systemClock.sleep(2);
  }
  await Promise.all(running);
};
