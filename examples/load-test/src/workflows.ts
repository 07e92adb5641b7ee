import { spawn } from "node:child_process";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { createHttpAction, defineLoadTest } from "@holdfast/jobs";
import { z } from "zod";
import { RUN_HEADER } from "./target-server.ts";

/** Where the example's own server listens when no URL is given. */
const TARGET_PORT = 7_490;

export const loadTest = defineLoadTest({
  name: "load-test",
  description: "Loads an HTTP server at a constant rate (or with closed-loop users) and measures latency.",
  input: z.object({
    /** Any http:// URL; default: a small server that the example starts on this machine. */
    url: z.url({ protocol: /^https?$/ }).optional(),
    /** Requests that are due per second and datacenter. 0: as fast as the virtual users can. */
    ratePerSecond: z.number().min(0).max(1_000_000).default(500),
    durationMs: z.number().min(100).max(3_600_000).default(10_000),
    shards: z.number().int().min(1).max(256).default(2),
    vus: z.number().int().min(1).max(100_000).default(50),
  }),
  shards: ({ shards }) => shards,
  ratePerSecond: ({ ratePerSecond }) => (ratePerSecond === 0 ? undefined : ratePerSecond),
  vus: ({ vus }) => vus,
  durationMs: ({ durationMs }) => durationMs,
  maxAttempts: 3,
  async setup(ctx) {
    const url = ctx.input.url ?? (await ensureTargetServer());
    return createHttpAction({
      url,
      connections: ctx.vus ?? ctx.input.vus,
      headers: { [RUN_HEADER]: ctx.jobId },
    });
  },
});

/** Starts the example's server unless it runs already, and waits until it answers. */
const ensureTargetServer = async (): Promise<string> => {
  const url = `http://127.0.0.1:${TARGET_PORT}/`;
  if (await answers(url)) return url;
  const script = fileURLToPath(new URL("./target-server-main.js", import.meta.url));
  spawn(process.execPath, [script, String(TARGET_PORT)], { stdio: "ignore", detached: true }).unref();
  for (let attempt = 0; attempt < 100; attempt += 1) {
    if (await answers(url)) return url;
    await pause(50);
  }
  throw new Error(`the example's server did not come up at ${url} within 5 s`);
};

const answers = async (url: string): Promise<boolean> => {
  try {
    const response = await fetch(`${url}stats`, { signal: AbortSignal.timeout(1_000) });
    await response.arrayBuffer();
    return response.ok;
  } catch {
    return false;
  }
};
