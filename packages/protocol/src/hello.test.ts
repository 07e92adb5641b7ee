import { describe, expect, it } from "vitest";
import { InvalidMessageError, SerializationError, UnexpectedFrameError } from "./errors.ts";
import { authenticate, checkShape, hello, ready } from "./hello.ts";
import { negotiate } from "./version.ts";

const refusal = (run: () => unknown): InvalidMessageError => {
  try {
    run();
  } catch (error) {
    if (error instanceof InvalidMessageError) return error;
    throw error;
  }
  throw new Error("it was taken");
};

describe("a hello", () => {
  it("of a dialler that says nothing is that of a client of version 1.0 without features", () => {
    const said = checkShape(hello, {}, "hello", "payload");
    expect(said).toEqual({ features: [], nodeId: "", role: "", address: "" });
    const { version = "1.0", features } = said;
    expect(negotiate({ version: "1.4", features: ["deflate"] }, { version, features })).toMatchObject({
      compatible: true,
      features: [],
    });
  });

  it("may say more than this version knows", () => {
    const said = checkShape(hello, { version: "1.9", region: "mars" }, "hello", "payload");
    expect(said).toMatchObject({ version: "1.9" });
    expect(said).not.toHaveProperty("region");
  });

  it("has bounds in every field, so that a stranger makes nobody keep much", () => {
    for (const [field, value] of [
      ["version", "1".repeat(33)],
      ["features", Array.from({ length: 129 }, (_, index) => `f${index}`)],
      ["features.0", ["f".repeat(65)]],
      ["nodeId", "n".repeat(257)],
      ["role", "r".repeat(65)],
      ["address", "a".repeat(301)],
    ] as const) {
      const [name = ""] = field.split(".");
      const { details } = refusal(() => checkShape(hello, { [name]: value }, "hello", "payload"));
      expect(details).toMatchObject({ issues: [{ path: field }] });
    }
    expect(() => checkShape(authenticate, { token: "t".repeat(8_193) }, "authenticate", "payload")).toThrow(
      InvalidMessageError,
    );
  });
});

describe("a ready", () => {
  it("grants no scope that this version does not know", () => {
    const granted = { scopes: ["read", "operate"] };
    expect(checkShape(ready, granted, "ready", "payload")).toEqual(granted);
    const { details } = refusal(() => checkShape(ready, { scopes: ["read", "root"] }, "ready", "payload"));
    expect(details).toMatchObject({ issues: [{ path: "scopes.1" }] });
  });
});

describe("what does not fit", () => {
  it("is told with its message, part and fields, and eight of them at most", () => {
    const error = refusal(() =>
      checkShape(hello, { features: Array.from({ length: 128 }, () => 1) }, "hello", "payload"),
    );
    expect(error).toMatchObject({ code: "PROTOCOL_INVALID_MESSAGE", retryable: false });
    expect(error.message).toMatch(/^The payload of hello does not fit its schema \(features\.0: /);
    expect(error.details).toMatchObject({ message: "hello", part: "payload" });
    expect(error.details["issues"]).toHaveLength(8);
  });

  it("is told without a field where all of it is wrong", () => {
    const { message, details } = refusal(() => checkShape(hello, "hi", "hello", "payload"));
    expect(message).toMatch(/^The payload of hello does not fit its schema \([^:]*: /);
    expect(details).toMatchObject({ issues: [{ path: "" }] });
  });

  it("has an error of its own where it comes at the wrong moment or cannot be written, which no repeat mends", () => {
    expect(new UnexpectedFrameError("request", "before ready")).toMatchObject({
      code: "PROTOCOL_UNEXPECTED_FRAME",
      retryable: false,
      message: "A request frame is not allowed before ready; the connection is closed",
    });
    expect(new SerializationError("holds a function")).toMatchObject({ retryable: false });
  });
});
