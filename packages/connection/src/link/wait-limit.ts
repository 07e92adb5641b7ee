import { InvalidInputError } from "@holdfast/kernel";

/**
 * Refuses a wait that would have no end (an infinity) or none that anybody meant (NaN, which every timer takes for 0).
 * What is below 0 is over at once, as what is left of a deadline that has passed.
 * @throws InvalidInputError naming `field`.
 */
export const checkWait = (field: string, waitMs: number): void => {
  const refusal = waitRefusal(field, waitMs);
  if (refusal !== undefined) throw refusal;
};

/** What {@link checkWait} throws, if so. */
export const waitRefusal = (field: string, waitMs: number): InvalidInputError | undefined =>
  Number.isFinite(waitMs)
    ? undefined
    : new InvalidInputError(field, waitMs, "a finite number of milliseconds");

/** What one timer of Node can wait: 24.8 days. */
const SAID_WAIT_MAX_MS = 2_147_483_647;

/** How long an asker waits, as the other side said it: from 0 to 2^31 - 1, whatever it said. Undefined for NaN. */
export const saidWait = (waitMs: number): number | undefined =>
  Number.isNaN(waitMs) ? undefined : Math.min(SAID_WAIT_MAX_MS, Math.max(0, waitMs));
