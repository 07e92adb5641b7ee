import { describe, expect, it } from "vitest";
import { HoldfastError, hasCode, isHoldfastError } from "./error.ts";
import {
  assert,
  ClosedError,
  InvalidInputError,
  OutcomeUnknownError,
  OverloadedError,
  RemoteError,
  TimeoutError,
  toWireError,
} from "./errors.ts";

const all: readonly [string, HoldfastError, boolean][] = [
  ["KERNEL_INVALID_INPUT", new InvalidInputError("retry.maxAttempts", 0, "at least 1"), false],
  ["KERNEL_TIMEOUT", new TimeoutError("asking", 100), true],
  ["KERNEL_CLOSED", new ClosedError("the pool"), false],
  ["KERNEL_OVERLOADED", new OverloadedError("the queue", 10), true],
  ["KERNEL_OUTCOME_UNKNOWN", new OutcomeUnknownError("submit"), false],
];

describe("an error of Holdfast", () => {
  it.each(
    all,
  )("%s has a stable code, its class's name and a retryability of its own", (code, error, retryable) => {
    expect(error).toBeInstanceOf(HoldfastError);
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject({ code, retryable, name: error.constructor.name });
    expect(isHoldfastError(error)).toBe(true);
    expect(hasCode(error, code)).toBe(true);
    expect(hasCode(error, "KERNEL_OTHER")).toBe(false);
  });

  it("is known by its brand, also when another copy of the package made it", () => {
    const foreign = Object.assign(new Error("from another copy"), {
      code: "KERNEL_TIMEOUT",
      [Symbol.for("holdfast.error")]: true,
    });
    expect(foreign).not.toBeInstanceOf(HoldfastError);
    expect(isHoldfastError(foreign)).toBe(true);
    for (const other of [new Error("plain"), undefined, null, "text", { code: "KERNEL_TIMEOUT" }])
      expect(isHoldfastError(other)).toBe(false);
  });

  it("keeps its cause, and has none when none was given", () => {
    const cause = new Error("below");
    expect(new ClosedError("it", { cause }).cause).toBe(cause);
    expect("cause" in new ClosedError("it")).toBe(false);
  });

  it("lets the thrower say that this one is retryable, and when", () => {
    const error = new OutcomeUnknownError("submit", { retryable: true, retryAfterMs: 250 });
    expect(error).toMatchObject({ retryable: true, retryAfterMs: 250 });
  });

  it("names field, value and what would have been accepted, and shortens what is long", () => {
    const error = new InvalidInputError("input.name", "x".repeat(10_000), "at most 512 characters");
    expect(error.message).toMatch(/^input\.name must be at most 512 characters; got "x+…$/);
    expect(error.message.length).toBeLessThan(200);
    expect(new InvalidInputError("n", 7n, "a number").message).toContain("7n");
    expect(new InvalidInputError("n", Number.NaN, "a number").message).toContain("got NaN");
    const cycle = Object.create(null) as Record<string, unknown>;
    cycle["self"] = cycle;
    expect(new InvalidInputError("n", cycle, "a number").message).toContain("got [object]");
    expect(new InvalidInputError("n", () => "secret", "a number").message).toContain("got [function]");
    const circular: Record<string, unknown> = {};
    circular.self = circular;
    for (const value of [undefined, circular, () => 1, Symbol("s")])
      expect(new InvalidInputError("n", value, "a number").message).toMatch(/^n must be a number; got /);
  });
});

describe("an error on the wire", () => {
  it.each(all)("%s comes back with code, message, retryability and details", (_code, error) => {
    const sent = JSON.parse(JSON.stringify(toWireError(error)));
    const received = new RemoteError(sent);
    expect(received).toMatchObject({
      code: error.code,
      message: error.message,
      retryable: error.retryable,
      details: error.details,
    });
    expect(toWireError(received)).toEqual(toWireError(error));
  });

  it("carries the wish when to come back", () => {
    const error = new OverloadedError("the queue", 10, { retryAfterMs: 1_500 });
    expect(new RemoteError(toWireError(error)).retryAfterMs).toBe(1_500);
  });

  it("tells neither stack nor cause", () => {
    const error = new ClosedError("it", { cause: new Error("postgres://user:secret@host/db") });
    expect(JSON.stringify(toWireError(error))).not.toMatch(/secret|stack|cause|\.ts:/);
  });

  it("tells of what is not ours only the message, and never that it may be retried", () => {
    const wire = { code: "KERNEL_INTERNAL", message: "boom", retryable: false };
    expect(toWireError(Object.assign(new TypeError("boom"), { code: "ESECRET", retryable: true }))).toEqual(
      wire,
    );
    expect(toWireError("boom")).toEqual(wire);
    // A handler may reject with anything, and its caller must hear of it all the same.
    for (const odd of [Object.create(null), Object.assign(new Error("x"), { message: { a: 1 } })]) {
      expect(toWireError(odd)).toMatchObject({ code: "KERNEL_INTERNAL", message: expect.any(String) });
    }
  });
});

describe("assert", () => {
  it("throws for a broken invariant and says which", () => {
    expect(() => assert(true, "fine")).not.toThrow();
    expect(() => assert(0, "the count is positive")).toThrow("broken invariant: the count is positive");
  });

  it("crosses the wire also with details that JSON cannot hold, as far as it can", () => {
    const details = { limit: Number.POSITIVE_INFINITY, headers: new Map([["a", "b"]]), path: "/x" };
    expect(toWireError(new ClosedError("it", { details })).details).toEqual({
      limit: null,
      headers: {},
      path: "/x",
      what: "it",
    });
    expect(toWireError(new ClosedError("it", { details: { n: 1n } })).details).toEqual({});
  });
});
