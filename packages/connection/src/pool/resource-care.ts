import { type Logger, withTimeout } from "@holdfast/kernel";
import type { PoolEntry } from "./pool-entry.ts";
import type { PoolSettings } from "./pool-options.ts";

// What is done to one resource between two users, each within its limit. At the limit the resource is given up:
// destroying it is what ends the work that hangs.

/** Whether the resource still works, and what went wrong where that is known. */
export const validated = async <T>(
  settings: PoolSettings<T>,
  entry: PoolEntry<T>,
): Promise<{ readonly isValid: boolean; readonly failure?: unknown }> => {
  const { clock, name, validate, validateTimeoutMs } = settings;
  const operation = `validating connection ${entry.id} of ${name}`;
  try {
    const isValid = await withTimeout(clock, { operation, timeoutMs: validateTimeoutMs }, async () =>
      validate === undefined ? true : validate(entry.resource),
    );
    return { isValid };
  } catch (failure) {
    return { isValid: false, failure };
  }
};

/** Undefined when there is nothing to do. @throws what the reset throws, or TimeoutError. */
export const startReset = <T>(settings: PoolSettings<T>, entry: PoolEntry<T>): Promise<void> | undefined => {
  const { clock, name, reset, resetTimeoutMs } = settings;
  let started: Promise<void> | undefined;
  try {
    started = reset?.(entry.resource);
  } catch (error) {
    started = Promise.reject(error);
  }
  if (started === undefined) return undefined;
  const running = started;
  const operation = `resetting connection ${entry.id} of ${name}`;
  return withTimeout(clock, { operation, timeoutMs: resetTimeoutMs }, () => running);
};

/** Never throws: a resource that does not close as it should is nobody's problem but the log's. */
export const destroyed = async <T>(settings: PoolSettings<T>, logger: Logger, resource: T): Promise<void> => {
  const { clock, destroy, destroyTimeoutMs, name } = settings;
  const operation = `closing a connection of ${name}`;
  try {
    await withTimeout(clock, { operation, timeoutMs: destroyTimeoutMs }, async () => destroy(resource));
  } catch (error) {
    logger.warn({ pool: name, err: error }, "a connection did not close as it should");
  }
};
