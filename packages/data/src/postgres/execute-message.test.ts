import { describe, expect, it } from "vitest";
import { encodeExecution } from "./execute-message.ts";

describe("the message that runs a prepared statement", () => {
  it("is Bind, Execute and Sync, byte for byte", () => {
    const message = encodeExecution("s1", ["é", null, Buffer.from([1, 2])]);
    expect(message.toString("hex")).toBe(
      [
        "42", // Bind
        "00000026",
        "00", // the unnamed portal
        "733100", // s1
        "0003000000000001", // formats: text, text, binary
        "0003", // values
        "00000002c3a9",
        "ffffffff", // NULL
        "000000020102",
        "00010000", // every column as text
        "4500000009" + "00" + "00000000", // Execute, all rows
        "5300000004", // Sync
      ].join(""),
    );
  });

  it("holds no values where there are none", () => {
    const bind = encodeExecution("s", []).subarray(0, 16).toString("hex");
    expect(bind).toBe(["42", "0000000f", "00", "7300", "0000", "0000", "00010000"].join(""));
  });

  it("refuses more values than the protocol counts", () => {
    expect(() => encodeExecution("s", new Array(65_536).fill(null))).toThrow(/values must be at most 65535/);
  });
});
