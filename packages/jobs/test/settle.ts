import type { VirtualClock } from "@holdfast/kernel/testing";

/** Lets virtual time pass until the promise settles. */
export const settle = async <T>(clock: VirtualClock, promise: Promise<T>, limitMs = 120_000): Promise<T> => {
  let isSettled = false;
  promise.then(
    () => {
      isSettled = true;
    },
    () => {
      isSettled = true;
    },
  );
  await clock.advanceUntil(() => isSettled, limitMs);
  return promise;
};
