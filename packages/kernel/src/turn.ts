/**
 * Calls `callback` once, as soon as everything that was handed to the process in this turn of its event loop has been
 * handled, before it waits again. For gathering what came together; where time is meant, take a Clock.
 */
export const afterThisTurn = (callback: () => void): void => {
  if (typeof setImmediate === "function") setImmediate(callback);
  else setTimeout(callback, 0);
};
