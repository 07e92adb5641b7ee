import { describe, expect, it } from "vitest";
import { parseClusterUrl, parseHostAndPort, readClusterOptions } from "./cluster-options.ts";

describe("the URL of a cluster", () => {
  it("names one host or several, each with its port", async () => {
    const { address, hosts } = await parseClusterUrl(
      "postgres://app:s%40crt@db1:5433,db2,[::1]:5434/orders?sslmode=require",
    );
    expect(hosts).toEqual([
      { host: "db1", port: 5433 },
      { host: "db2", port: 5432 },
      { host: "::1", port: 5434 },
    ]);
    expect(address).toMatchObject({ user: "app", password: "s@crt", database: "orders" });
    expect(address.tls).toBeDefined();
    expect((await parseClusterUrl("postgres://db1/orders")).hosts).toEqual([{ host: "db1", port: 5432 }]);
  });

  it.each([
    "postgres://app:secret@db1:99999,db2/x",
    "postgres://app:secret@db1,/x",
    "nonsense",
    "http://a,b/x",
  ])("is refused as %j, without the password", async (url) => {
    const problem = await parseClusterUrl(url).then(
      () => undefined,
      (error: Error) => error,
    );
    expect(problem).toMatchObject({ code: "KERNEL_INVALID_INPUT" });
    expect(problem?.message).not.toContain("secret");
  });
});

describe("the options of a cluster", () => {
  it.each([
    [{ pollEveryMs: 10 }, /pollEveryMs must be an integer from 50 to 60000/],
    [{ lagMaxMs: -1 }, /lagMaxMs/],
    [{ primaryWaitMs: 1.5 }, /primaryWaitMs/],
    [{ readFallback: "guess" as never }, /readFallback must be "primary" or "error"/],
  ])("are refused as %j, naming the field", (options, reason) => {
    expect(() => readClusterOptions({ url: "postgres://a/b", ...options })).toThrow(reason);
  });

  it.each(["", "a:b", "a:0", "a:70000", "a b:1", "user@a:1"])("take %j for no address", (text) => {
    expect(() => parseHostAndPort(text, "discovery.write")).toThrow(
      /discovery.write must be of the form host:port/,
    );
  });
});
