import { inspect } from "node:util";
import { seededRandom } from "@holdfast/kernel";
import { retryPresets } from "@holdfast/resilience";
import { describe, expect, it } from "vitest";
import { managerOptionsOf, RETRY_PRESETS, resolveClientConfig } from "./client-config.ts";

const login = { username: "ada", password: "hunter2" };

describe("resolveClientConfig", () => {
  it("has exactly these defaults", () => {
    const { password, ...config } = resolveClientConfig({ code: login });
    expect(password?.reveal()).toBe("hunter2");
    expect(config).toEqual({
      hosts: ["localhost:7000"],
      username: "ada",
      enableTls: false,
      timeoutMs: 5_000,
      pool: { min: 5, max: 20, connectionTimeoutMs: 5_000, idleTimeoutMs: 60_000, maxLifetimeMs: 1_800_000 },
      retry: { maxRetries: 3, initialBackoffMs: 100, maxBackoffMs: 5_000, multiplier: 2 },
      compression: { enabled: false, threshold: 1_024 },
      maxMessageSize: 1_048_576,
      tokenTtlMs: 86_400_000,
      log: { level: "info", format: "text", timestamps: true },
      tracing: { enabled: false },
    });
  });

  it("knows the three retry presets by their numbers, the same as the resilience package", () => {
    expect(RETRY_PRESETS.none.maxRetries).toBe(0);
    expect(RETRY_PRESETS.aggressive).toEqual({
      maxRetries: 5,
      initialBackoffMs: 50,
      maxBackoffMs: 2_000,
      multiplier: 1.5,
    });
    expect(RETRY_PRESETS.conservative).toEqual({
      maxRetries: 2,
      initialBackoffMs: 200,
      maxBackoffMs: 10_000,
      multiplier: 3,
    });
    for (const retry of ["standard", "aggressive", "conservative"] as const) {
      const ours = managerOptionsOf(resolveClientConfig({ code: { ...login, retry } })).retry;
      const theirs = retryPresets[retry];
      expect(ours?.maxAttempts).toBe(theirs.maxAttempts);
      for (let attempt = 1; attempt < 8; attempt += 1) {
        expect(ours?.backoff.delayMs(attempt, undefined, seededRandom(attempt))).toBe(
          theirs.backoff.delayMs(attempt, undefined, seededRandom(attempt)),
        );
      }
    }
  });

  it("gives the same result from a file, the environment and code; code wins, then the environment", () => {
    const code = {
      ...login,
      hosts: ["a:1", "b"],
      enableTls: true,
      timeoutMs: 900,
      pool: { min: 1, max: 7 },
      retry: "aggressive" as const,
      compression: { enabled: true, threshold: 10 },
      log: { level: "debug" as const },
    };
    const env = {
      HOLDFAST_USERNAME: "ada",
      HOLDFAST_PASSWORD: "hunter2",
      HOLDFAST_HOSTS: "a:1, b",
      HOLDFAST_TLS: "true",
      HOLDFAST_TIMEOUT_MS: "900",
      HOLDFAST_POOL_MIN: "1",
      HOLDFAST_POOL_MAX: "7",
      HOLDFAST_RETRY: "aggressive",
      HOLDFAST_COMPRESSION: "1",
      HOLDFAST_COMPRESSION_THRESHOLD: "10",
      HOLDFAST_LOG_LEVEL: "debug",
      UNRELATED: "x",
    };
    const plain = (config: object): unknown => JSON.parse(JSON.stringify(config));
    const expected = plain(resolveClientConfig({ code }));
    expect(plain(resolveClientConfig({ env }))).toEqual(expected);
    expect(plain(resolveClientConfig({ file: code }))).toEqual(expected);
    const mixed = resolveClientConfig({
      file: { ...login, timeoutMs: 1, pool: { min: 2, max: 3 } },
      env: { HOLDFAST_TIMEOUT_MS: "2", HOLDFAST_POOL_MAX: "4" },
      code: { timeoutMs: 3 },
    });
    expect(mixed).toMatchObject({ timeoutMs: 3, pool: { min: 2, max: 4 } });
  });

  it.each<[string, object]>([
    ["hosts", { ...login, hosts: [] }],
    ["hosts", { ...login, hosts: ["a:99999"] }],
    ["username", { password: "x" }],
    ["username", { username: "", password: "x" }],
    ["password", { username: "ada" }],
    ["password", { username: "ada", password: "" }],
    ["pool.min", { ...login, pool: { min: 3, max: 2 } }],
    ["pool.max", { ...login, pool: { max: 0 } }],
    ["pool.min", { ...login, pool: { min: -1 } }],
    ["timeoutMs", { ...login, timeoutMs: Number.POSITIVE_INFINITY }],
    ["timeoutMs", { ...login, timeoutMs: Number.NaN }],
    ["timeoutMs", { ...login, timeoutMs: 0 }],
    ["maxMessageSize", { ...login, maxMessageSize: 10 }],
    ["log.level", { ...login, log: { level: "loud" } }],
  ])("refuses a wrong value and names the field: %s", (field, file) => {
    expect(() => resolveClientConfig({ file })).toThrowError(
      expect.objectContaining({ code: "KERNEL_INVALID_INPUT", field }),
    );
  });

  it("refuses keys that it does not know, and text in the environment that is no number", () => {
    expect(() => resolveClientConfig({ file: { ...login, hots: ["a"] } })).toThrowError(/hots/);
    expect(() => resolveClientConfig({ code: login, env: { HOLDFAST_TIMEOUT_MS: "soon" } })).toThrowError(
      expect.objectContaining({ field: "timeoutMs" }),
    );
  });

  it("refuses to send a password in the clear to any but this machine, and names the host", () => {
    for (const hosts of [
      ["db.example:7000"],
      ["127.0.0.1", "10.0.0.5"],
      ["[::2]:7000"],
      ["127.0.0.1.example"],
    ]) {
      expect(() => resolveClientConfig({ code: { ...login, hosts } })).toThrowError(
        expect.objectContaining({ code: "KERNEL_INVALID_INPUT", field: "enableTls" }),
      );
      expect(resolveClientConfig({ code: { ...login, hosts, enableTls: true } }).hosts.length).toBe(
        hosts.length,
      );
    }
    expect(() => resolveClientConfig({ code: { ...login, hosts: ["a", "b:1"] } })).toThrowError(/a:7000/);
    for (const hosts of [["localhost"], ["127.0.0.1:1", "[::1]:2", "127.9.9.9"]])
      expect(resolveClientConfig({ code: { ...login, hosts } }).enableTls).toBe(false);
  });

  it("is content with a certificate or a token in place of a password", () => {
    expect(resolveClientConfig({ code: { username: "a", certificate: "/etc/a.pem" } }).certificate).toBe(
      "/etc/a.pem",
    );
    expect(resolveClientConfig({ code: { username: "a", token: "t" } }).token?.reveal()).toBe("t");
  });

  it("never shows a secret", () => {
    const config = resolveClientConfig({ code: { ...login, token: "sesame" } });
    for (const text of [
      inspect(config, { depth: 9, showHidden: true }),
      JSON.stringify(config),
      `${config.password}`,
    ]) {
      expect(text).not.toContain("hunter2");
      expect(text).not.toContain("sesame");
    }
    for (const file of [
      { username: "ada", password: ["hunter2"] },
      { ...login, bogus: 1 },
      { username: "ada", passwort: "hunter2" },
      { ...login, pool: { password: "hunter2" } },
      { ...login, hosts: { password: "hunter2" } },
      { ...login, hosts: ["ada:hunter2@db:7000"] },
    ]) {
      let error: unknown;
      try {
        resolveClientConfig({ file });
      } catch (thrown) {
        error = thrown;
      }
      expect(error).toMatchObject({ code: "KERNEL_INVALID_INPUT", field: expect.stringMatching(/./) });
      expect(inspect(error, { depth: 9 })).not.toContain("hunter2");
    }
  });
});
