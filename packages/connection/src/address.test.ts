import { describe, expect, it } from "vitest";
import { formatAddress, parseAddress } from "./address.ts";

describe("parseAddress", () => {
  it.each([
    ["localhost:7000", "localhost", 7000],
    ["127.0.0.1:0", "127.0.0.1", 0],
    ["[::1]:7401", "::1", 7401],
    ["[fe80::1%eth0]:1", "fe80::1%eth0", 1],
    [" node.test:65535 ", "node.test", 65_535],
  ])("reads %s", (text, host, port) => {
    expect(parseAddress(text)).toEqual({ host, port });
    expect(parseAddress(formatAddress({ host, port }))).toEqual({ host, port });
  });

  it("takes the default port where there is none", () => {
    expect(parseAddress("node", { defaultPort: 7_000 })).toEqual({ host: "node", port: 7_000 });
    expect(parseAddress("[::1]", { defaultPort: 7_000 })).toEqual({ host: "::1", port: 7_000 });
  });

  it.each([
    "",
    "node",
    "node:",
    "node:70000",
    "node:-1",
    "::1:80",
    "a b:1",
    "http://node:80",
    "node:1/x",
  ])("refuses %j and names the field", (text) => {
    expect(() => parseAddress(text, { field: "gate" })).toThrowError(
      expect.objectContaining({ code: "KERNEL_INVALID_INPUT", field: "gate" }),
    );
  });
});
