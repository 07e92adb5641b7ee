import { RemoteError } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import { NodeNotReadyError, NotLeaderError, UnknownWorkflowError } from "../errors.ts";
import { isTransient, redirectOf, TRANSIENT_PATTERNS } from "./transient.ts";

const plain = (message: string) => new RemoteError({ code: "KERNEL_INTERNAL", message, retryable: false });

describe("transient errors", () => {
  it("are those that say so, and refused connections", () => {
    expect(isTransient(new NodeNotReadyError("n", "syncing"))).toBe(true);
    expect(isTransient(new UnknownWorkflowError("w", []))).toBe(false);
    expect(isTransient(new RemoteError({ code: "CONNECTION_REFUSED", message: "", retryable: false }))).toBe(
      true,
    );
    expect(isTransient(new Error("not ready"))).toBe(false);
  });

  it("are recognised by exactly nine patterns, whatever their case, where there is no code", () => {
    expect(TRANSIENT_PATTERNS.length).toBe(9);
    expect(Object.isFrozen(TRANSIENT_PATTERNS)).toBe(true);
    for (const pattern of TRANSIENT_PATTERNS) {
      expect(isTransient(plain(`sorry: ${pattern.toUpperCase()}!`))).toBe(true);
    }
    expect(isTransient(plain("disk full"))).toBe(false);
  });

  it("are understood from a bare word of code", () => {
    expect(isTransient(plain("rate_limited"))).toBe(true);
    expect(isTransient(plain("RATE_LIMITED"))).toBe(true);
    expect(isTransient(plain("rate"))).toBe(false);
  });

  it("lead to the leader when they name it", () => {
    expect(redirectOf(new NotLeaderError("it", { nodeId: "n", address: "h:1" }))).toBe("h:1");
    expect(redirectOf(new NotLeaderError("it", undefined))).toBe(undefined);
    expect(redirectOf(new NotLeaderError("it", { nodeId: "n", address: "" }))).toBe(undefined);
  });
});
