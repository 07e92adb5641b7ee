import { ClosedError, HoldfastError, InvalidInputError, OutcomeUnknownError } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import { StoreConflictError, StoreUnavailableError } from "../../errors.ts";
import { toStoreError } from "./store-errors.ts";

class DriverError extends HoldfastError {
  override readonly name = "DriverError";
  readonly code = "DRIVER_FAILED";
}

const withCode = (code: string): Error => Object.assign(new Error("driver"), { code });

describe("an error of the database", () => {
  it.each([
    "08006",
    "53300",
    "57P01",
    "57P03",
    "25006",
    "ECONNREFUSED",
  ])("%s means that the store is unavailable, for reads and writes", (code) => {
    for (const isWrite of [false, true]) {
      const cause = withCode(code);
      const error = toStoreError("op", cause, { isWrite });
      expect(error).toBeInstanceOf(StoreUnavailableError);
      expect(error).toMatchObject({ retryable: true, cause });
    }
  });

  it.each(["ECONNRESET", "EPIPE", "ETIMEDOUT"])("%s leaves a write in doubt but not a read", (code) => {
    expect(toStoreError("op", withCode(code), { isWrite: true })).toBeInstanceOf(OutcomeUnknownError);
    expect(toStoreError("op", withCode(code), { isWrite: false })).toBeInstanceOf(StoreUnavailableError);
  });

  it.each(["40001", "40P01", "55P03", "23505"])("%s means that the call lost against another", (code) => {
    expect(toStoreError("op", withCode(code), { isWrite: true })).toBeInstanceOf(StoreConflictError);
  });

  it("that a client wrapped keeps its meaning", () => {
    const wrapped = new DriverError("no connection", { retryable: true, retryAfterMs: 70 });
    expect(toStoreError("op", wrapped, { isWrite: true })).toMatchObject({
      code: "COORDINATION_STORE_UNAVAILABLE",
      retryAfterMs: 70,
      cause: wrapped,
    });
    const conflict = Object.assign(new DriverError("deadlock"), { sqlState: "40P01" });
    expect(toStoreError("op", conflict, { isWrite: true })).toBeInstanceOf(StoreConflictError);
  });

  it("passes as it is when it is the caller's abort, ours, or a mistake", () => {
    const reason = new Error("aborted");
    const signal = AbortSignal.abort(reason);
    for (const error of [
      new OutcomeUnknownError("commit"),
      new ClosedError("pool"),
      new InvalidInputError("a", 1, "b"),
      new DriverError("bad statement"),
      withCode("42P01"),
      new TypeError("bug"),
    ]) {
      expect(toStoreError("op", error, { isWrite: true })).toBe(error);
    }
    expect(toStoreError("op", reason, { isWrite: true, signal })).toBe(reason);
  });
});
