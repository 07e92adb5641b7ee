import { fileURLToPath } from "node:url";
import { createContext, runInContext } from "node:vm";
import { build } from "vite";
import { expect, it } from "vitest";

/** What a browser and Node have in common, as far as it is needed; nothing of Node alone. */
const browserGlobals = () => ({
  AbortController,
  AbortSignal,
  clearInterval,
  clearTimeout,
  crypto,
  performance,
  queueMicrotask,
  setInterval,
  setTimeout,
});

const bundle = async (): Promise<string> => {
  const output = await build({
    configFile: false,
    logLevel: "silent",
    resolve: { conditions: ["holdfast-source", "browser", "module", "default"] },
    build: {
      write: false,
      minify: false,
      lib: {
        entry: fileURLToPath(new URL("../src/index.ts", import.meta.url)),
        formats: ["iife"],
        name: "resilience",
      },
    },
  });
  const [bundled] = [output].flat();
  if (bundled === undefined || !("output" in bundled)) throw new Error("nothing was bundled");
  return bundled.output.map((part) => ("code" in part ? part.code : "")).join("\n");
};

it("runs where there is nothing of Node: retry, breaker, limits and time-outs in a bare browser's world", async () => {
  const code = await bundle();
  expect(code).not.toMatch(/["']node:/);
  const world = createContext(browserGlobals());
  runInContext(code, world);
  const told = await runInContext(
    `(async () => {
      const { Bulkhead, CircuitBreaker, compose, Retry, Timeout, TokenBucket, fixedBackoff } = resilience;
      let calls = 0;
      const policy = compose({
        retry: new Retry({ maxAttempts: 3, backoff: fixedBackoff({ delayMs: 1 }), shouldRetry: () => true }),
        breaker: new CircuitBreaker({ trip: { mode: "consecutive", failureMaxCount: 5 } }),
        concurrency: new Bulkhead({ concurrencyMaxCount: 1 }),
        timeout: new Timeout({ timeoutMs: 10_000 }),
      });
      const value = await policy.execute(async ({ signal }) => {
        calls += 1;
        if (calls < 3) throw new Error("not yet");
        return signal.aborted ? "aborted" : "done";
      });
      const late = await new Timeout({ timeoutMs: 1 }).execute(() => new Promise(() => {})).catch((error) => error.code);
      return JSON.stringify({ calls, value, late, bucket: typeof TokenBucket });
    })()`,
    world,
  );
  expect(JSON.parse(told)).toEqual({ calls: 3, value: "done", late: "KERNEL_TIMEOUT", bucket: "function" });
});
