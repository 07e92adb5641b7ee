import { describe, expect, it } from "vitest";
import { haproxyConfig } from "./haproxy-config.ts";

describe("the configuration of a proxy", () => {
  const text = haproxyConfig({
    nodes: [
      { name: "db1", host: "10.0.0.1", port: 5432, restPort: 8008 },
      { name: "db2", host: "10.0.0.2", port: 5433, restPort: 8009 },
    ],
    listenHost: "10.0.0.9",
    writePort: 5000,
    readPort: 5001,
    statsPort: 7000,
    checkEveryMs: 500,
  });
  const part = (title: string): string =>
    text.slice(text.indexOf(`\n${title}\n`) + 1).split(/\n(?=\w)/)[0] ?? "";

  it("leads writes to who holds the leader's key, and reads to replicas within a bound on lag", () => {
    expect(part("frontend write")).toContain("bind 10.0.0.9:5000");
    expect(part("backend write")).toContain("httpchk OPTIONS /primary");
    expect(part("backend read")).toContain("httpchk OPTIONS /replica?lag=16MB");
    for (const title of ["backend write", "backend read"]) {
      expect(part(title)).toContain("server db1 10.0.0.1:5432 maxconn 100 check port 8008");
      expect(part(title)).toContain("server db2 10.0.0.2:5433 maxconn 100 check port 8009");
    }
  });

  it.each([
    ["checkEveryMs", Number.NaN],
    ["checkEveryMs", 99],
    ["writePort", 0],
    ["readPort", 5_001.5],
    ["statsPort", 65_536],
  ])("refuses %s %d", (field, value) => {
    const ports = { writePort: 1, readPort: 2, statsPort: 3 };
    expect(() => haproxyConfig({ nodes: [], ...ports, [field]: value })).toThrow(
      expect.objectContaining({ code: "KERNEL_INVALID_INPUT", field }),
    );
  });

  it("cuts the sessions of a server that lost its role", () => {
    expect(part("defaults")).toContain("inter 500ms fastinter 200ms downinter 250ms fall 2 rise 1");
    expect(part("defaults")).toContain("on-marked-down shutdown-sessions");
  });
});
