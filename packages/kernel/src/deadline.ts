import { type Abortable, childController } from "./abort.ts";
import type { Clock } from "./clock.ts";
import { TimeoutError } from "./errors.ts";

/**
 * Runs `body` with a signal that aborts after `timeoutMs` or with the caller's own signal.
 * The call settles at the limit even when `body` ignores its signal.
 * @throws TimeoutError naming `operation` at the limit; retryable.
 * @throws signal.reason when the caller aborts first.
 */
export const withTimeout = async <T>(
  clock: Clock,
  options: Abortable & { readonly operation: string; readonly timeoutMs: number },
  body: (signal: AbortSignal) => Promise<T>,
): Promise<T> => {
  options.signal?.throwIfAborted();
  const controller = childController(options.signal);
  const timer = clock.schedule(options.timeoutMs, () => {
    controller.abort(new TimeoutError(options.operation, options.timeoutMs));
  });
  try {
    return await new Promise<T>((resolve, reject) => {
      controller.signal.addEventListener("abort", () => reject(controller.signal.reason), { once: true });
      body(controller.signal).then(resolve, reject);
    });
  } finally {
    timer.cancel();
    controller.dispose();
  }
};
