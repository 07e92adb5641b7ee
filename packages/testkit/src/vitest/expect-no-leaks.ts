import { afterAll, afterEach, beforeAll, beforeEach } from "vitest";
import { ConditionTimeoutError } from "../errors.ts";
import { type ActiveResources, activeResources, leftOpen } from "../process/active-resources.ts";
import { waitUntil } from "../process/wait-until.ts";

export interface ExpectNoLeaksOptions {
  /**
   * `test`: each test gives back what it opened. `file`: so do all tests of the file together; what they share lives
   * until the last has ended. Default `test`.
   */
  readonly after?: "test" | "file";
  /** How long what was closed may take to go away; a busy machine takes its time. Default 20_000. */
  readonly timeoutMs?: number;
}

/**
 * Makes every test of the file, or of the `describe` it stands in, fail when it leaves a socket, a listening port,
 * a child process or a timer behind that keeps the process alive. Call it before other hooks, so that it looks last.
 *
 * Vitest has a timer of its own now and then, which may hide one that a test leaves until all of them have ended.
 */
export const expectNoLeaks = (options: ExpectNoLeaksOptions = {}): void => {
  const { after = "test", timeoutMs = 20_000 } = options;
  let before: ActiveResources = new Map();
  let beforeAllTests: ActiveResources = new Map();
  // Longer than the wait itself, so that it can say what was left.
  const hookTimeoutMs = timeoutMs + 30_000;
  beforeAll(() => {
    beforeAllTests = withoutTimers(activeResources());
  });
  afterAll(() => nothingLeft("file", beforeAllTests, timeoutMs), hookTimeoutMs);
  if (after === "file") return;
  beforeEach(() => {
    before = activeResources();
  });
  afterEach(() => nothingLeft("test", before, timeoutMs), hookTimeoutMs);
};

/** Vitest's own timer ends soon, and nobody else has a reason to keep one for a whole file. */
const withoutTimers = (resources: ActiveResources): ActiveResources =>
  new Map([...resources].filter(([kind]) => kind !== "Timeout" && kind !== "Immediate"));

const nothingLeft = async (what: string, before: ActiveResources, timeoutMs: number): Promise<void> => {
  let left: readonly string[] = [];
  const isOver = (): boolean => {
    left = leftOpen(before, activeResources());
    return left.length === 0;
  };
  try {
    await waitUntil("nothing to be left open", isOver, { timeoutMs, intervalMs: 5 });
  } catch (cause) {
    throw new ConditionTimeoutError(`the ${what} left ${left.join(", ")} open`, timeoutMs, { cause });
  }
};
