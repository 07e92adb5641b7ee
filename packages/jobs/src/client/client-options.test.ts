import { createMemoryNetwork } from "@holdfast/connection";
import { silentLogger, systemClock, systemRandom } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { describe, expect, it } from "vitest";
import { clientOptionsFromEnvironment } from "./client-environment.ts";
import { type ClientOptions, resolveClientOptions } from "./client-options.ts";

const transport = createMemoryNetwork({ clock: new VirtualClock() });
const resolve = (options: Partial<ClientOptions> = {}) => resolveClientOptions({ transport, ...options });

describe("the options of a client", () => {
  it("have these defaults, and no node to ask", () => {
    const { clientId, ...rest } = resolve();
    expect(clientId).toMatch(/^client-[0-9a-f]{16}$/);
    expect(rest).toEqual({
      gates: [],
      managers: [],
      transport,
      credential: undefined,
      identity: { nodeId: clientId, role: "client" },
      clock: systemClock,
      random: systemRandom,
      logger: silentLogger,
      heartbeatMs: 2_000,
      requestTimeoutMs: 10_000,
      deadlineMs: 60_000,
      backoffBaseMs: 500,
      backoffMaxMs: 5_000,
      silenceMs: 10_000,
      bufferMaxCount: 2_000,
      bufferMaxBytes: 4_194_304,
    });
  });

  it("take a hundred managers and the ports 1 and 65535, and refuse 0 and 65536 by name", () => {
    const managers = Array.from({ length: 100 }, (_, index) => `m${index}:${index === 0 ? 1 : 65_535}`);
    expect(resolve({ managers }).managers).toEqual(managers);
    for (const port of [0, 65_536, -1, "x"]) {
      expect(() => resolve({ managers: [...managers, `late:${port}`] })).toThrow(/managers\[100\]/);
      expect(() => resolve({ gates: [`g:${port}`] })).toThrow(/gates\[0\]/);
    }
  });

  it("ask an address that is given twice once", () => {
    expect(resolve({ gates: ["a:1", "b:1", "a:1"] }).gates).toEqual(["a:1", "b:1"]);
  });

  it.each([
    ["HOLDFAST_CLIENT_DEADLINE_MS", "deadlineMs"],
    ["HOLDFAST_CLIENT_WATCH_SILENCE_MS", "silenceMs"],
    ["HOLDFAST_CLIENT_REQUEST_TIMEOUT_MS", "requestTimeoutMs"],
  ] as const)("are set by the environment: %s", (variable, field) => {
    const defaults = { ...resolve({ clientId: "c" }) };
    const options = clientOptionsFromEnvironment({ [variable]: "1234.5", OTHER: "7" });
    expect(resolve({ clientId: "c", ...options })).toEqual({ ...defaults, [field]: 1_234.5 });
    // Absent or empty: the default.
    expect(clientOptionsFromEnvironment({ [variable]: " " })).toEqual({});
    expect(clientOptionsFromEnvironment({})).toEqual({});
  });

  it("are refused by name when a duration or a bound is not above 0, or the client's id cannot be part of a key", () => {
    expect(() => resolve({ watchSilenceMs: 0 })).toThrow(/^watchSilenceMs must be a number above 0/);
    expect(() => resolve({ deadlineMs: Number.NaN })).toThrow(/^deadlineMs must be a number above 0/);
    for (const clientId of ["", "a:b", "x".repeat(257)]) {
      expect(() => resolve({ clientId })).toThrow(/^clientId must be 1 to 256 characters without a colon/);
    }
  });

  it.each([
    "soon",
    "0",
    "-5",
    "1e3",
    "10s",
    "NaN",
    "Infinity",
    "86400001",
  ])("are refused from the environment when a variable says %s, by its name", (value) => {
    expect(() => clientOptionsFromEnvironment({ HOLDFAST_CLIENT_DEADLINE_MS: value })).toThrow(
      /^HOLDFAST_CLIENT_DEADLINE_MS must be milliseconds/,
    );
  });
});
