import { HoldfastError, RemoteError, TimeoutError, toWireError } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import * as errors from "./errors.ts";

type Constructor = new (...args: never[]) => HoldfastError;

/** One of each, made with what its constructor asks for. */
const samples: readonly HoldfastError[] = Object.values(errors).map((Class) => {
  const values = ["a:1", 7, 7, 7].map((value) => value as never);
  const Subclass = Class as Constructor;
  return Class.name.startsWith("NoHealthy")
    ? new errors.NoHealthyNodesError(["a:1"])
    : new Subclass(...values);
});

describe("the errors of connections", () => {
  it("each have a code of their own, a message, details, and survive JSON and the wire", () => {
    expect(new Set(samples.map(({ code }) => code)).size).toBe(samples.length);
    for (const error of samples) {
      expect(error).toBeInstanceOf(HoldfastError);
      expect(error.code).toMatch(/^(CONNECTION|AUTHENTICATION)_[A-Z_]+$/);
      expect(error.message.length).toBeGreaterThan(10);
      expect(Object.keys(error.details).length).toBeGreaterThan(0);
      const wire = toWireError(error);
      const back = new RemoteError(JSON.parse(JSON.stringify(wire)));
      expect({ ...toWireError(back) }).toEqual(wire);
    }
  });

  it("report as retryable exactly what may pass by itself, and what another node may do at once", () => {
    const retryable = [...samples, new TimeoutError("x", 1)].filter((error) => error.retryable);
    expect(retryable.map(({ code }) => code).sort()).toEqual([
      "CONNECTION_DRAINING",
      "CONNECTION_LOST",
      "CONNECTION_NETWORK",
      "CONNECTION_OVERLOADED",
      "CONNECTION_TIMEOUT",
      "KERNEL_TIMEOUT",
    ]);
  });
});
