import { afterEach, beforeEach } from "vitest";
import { ConditionTimeoutError } from "../errors.ts";
import { type ActiveResources, activeResources, leftOpen } from "../process/active-resources.ts";
import { waitUntil } from "../process/wait-until.ts";

/**
 * Makes every test of the file, or of the `describe` it stands in, fail when it leaves a socket, a listening port,
 * a child process or a timer behind that keeps the process alive. Call it before other hooks, so that it looks last.
 *
 * @param options.timeoutMs How long what was closed may take to go away. Default 2_000.
 */
export const expectNoLeaks = (options: { readonly timeoutMs?: number } = {}): void => {
  const timeoutMs = options.timeoutMs ?? 2_000;
  let before: ActiveResources = new Map();
  beforeEach(() => {
    before = activeResources();
  });
  afterEach(async () => {
    let left: readonly string[] = [];
    const nothingLeft = (): boolean => {
      left = leftOpen(before, activeResources());
      return left.length === 0;
    };
    try {
      await waitUntil("nothing to be left open", nothingLeft, { timeoutMs, intervalMs: 5 });
    } catch (cause) {
      throw new ConditionTimeoutError(`the test left ${left.join(", ")} open`, timeoutMs, { cause });
    }
  });
};
