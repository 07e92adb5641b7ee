/// <reference path="./peers/opossum.d.ts" />
import { CircuitBreaker, compose, Retry, Timeout } from "@holdfast/resilience";
import {
  circuitBreaker,
  ExponentialBackoff,
  handleAll,
  retry,
  SamplingBreaker,
  TimeoutStrategy,
  timeout,
  wrap,
} from "cockatiel";
import Opossum from "opossum";
import type { Bench } from "./measure/bench-result.ts";
import { allocatedBytes, type Contender, interleaved } from "./measure/interleaved.ts";

const TIMEOUT_MS = 1_000;
const COCKATIEL = "cockatiel@4.0.0";
const OPOSSUM = "opossum@10.0.0";

const noop = async (): Promise<number> => 1;

const repeat =
  (call: () => Promise<unknown>): Contender =>
  async (count) => {
    for (let index = 0; index < count; index += 1) await call();
  };

/**
 * Only what any wrapper needs whose caller may get an answer before the body ends: a promise that it can settle, and
 * its two listeners on the body's promise. Nothing else is made for a call.
 */
const settleableOnly = (): (() => Promise<unknown>) => {
  let resolve: (value: unknown) => void = () => undefined;
  let reject: (reason: unknown) => void = () => undefined;
  const keep = (onValue: typeof resolve, onError: typeof reject): void => {
    resolve = onValue;
    reject = onError;
  };
  const onValue = (value: unknown): void => resolve(value);
  const onError = (error: unknown): void => reject(error);
  return () => {
    const promise = new Promise<unknown>(keep);
    noop().then(onValue, onError);
    return promise;
  };
};

const contenders = (): { readonly all: Record<string, Contender>; readonly close: () => void } => {
  const ours = compose({
    retry: new Retry({ maxAttempts: 4 }),
    breaker: new CircuitBreaker({ trip: { mode: "time", windowMs: 30_000 } }),
    timeout: new Timeout({ timeoutMs: TIMEOUT_MS }),
  });
  const theirs = wrap(
    retry(handleAll, { maxAttempts: 3, backoff: new ExponentialBackoff() }),
    circuitBreaker(handleAll, {
      halfOpenAfter: 60_000,
      breaker: new SamplingBreaker({ threshold: 0.5, duration: 30_000 }),
    }),
    timeout(TIMEOUT_MS, TimeoutStrategy.Aggressive),
  );
  const opossum = new Opossum(noop, { timeout: TIMEOUT_MS, enableSnapshots: false });
  return {
    all: {
      ours: repeat(() => ours.execute(noop)),
      [COCKATIEL]: repeat(() => theirs.execute(noop)),
      [OPOSSUM]: repeat(() => opossum.fire()),
    },
    close: () => opossum.shutdown(),
  };
};

const bench: Bench = {
  name: "resilience",
  description: "What do retry, circuit breaker and timeout add to an async no-op, one call after the other?",
  run: async () => {
    const { all, close } = contenders();
    try {
      const bareBytes = Math.round(await allocatedBytes(repeat(noop), 20_000));
      const leastBytes = Math.round(await allocatedBytes(repeat(settleableOnly()), 20_000));
      const bytes: Record<string, number> = {};
      for (const [name, contender] of Object.entries(all)) {
        bytes[name] = Math.round(await allocatedBytes(contender, 20_000));
      }
      const { ours: oursNs = Number.NaN, ...peersNs } = await interleaved(all, { count: 20_000 });
      const { ours: oursBytes = Number.NaN, ...peersBytes } = bytes;
      return [
        {
          unit: "bytes/call",
          ours: oursBytes,
          peers: peersBytes,
          higherIsBetter: false,
          notes:
            `Allocated heap; ${bareBytes} of it are the awaited no-op itself, ${leastBytes - bareBytes} the promise that a ` +
            `time limit can settle before the body ends and its listeners, and ${oursBytes - leastBytes} the policies.`,
        },
        {
          unit: "ns/call",
          ours: Math.round(oursNs),
          peers: Object.fromEntries(Object.entries(peersNs).map(([name, ns]) => [name, Math.round(ns)])),
          higherIsBetter: false,
          notes:
            "Median of 9 interleaved rounds of 20,000 awaited calls. opossum has no retry and no abort signal, so " +
            "it does breaker and timeout only; its snapshots are switched off, which is its fastest setting.",
        },
      ];
    } finally {
      close();
    }
  },
};

export default bench;
