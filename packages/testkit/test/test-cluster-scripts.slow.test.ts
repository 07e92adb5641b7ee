import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { connect, tcpTransport } from "@holdfast/connection";
import { systemClock, systemRandom } from "@holdfast/kernel";
import { describe, expect, it } from "vitest";
import { makeTempDirectory, reservePort, runToEnd } from "../src/index.ts";
import { echo } from "../src/servers/index.ts";
import { expectNoLeaks } from "../src/vitest/index.ts";

const ask = async (address: string): Promise<unknown> => {
  const peer = await connect({
    address,
    clock: systemClock,
    random: systemRandom,
    transport: tcpTransport(),
    identity: { nodeId: "", role: "client" },
  });
  try {
    return (await peer.request(echo, { value: address })).value;
  } finally {
    await peer.close();
  }
};

describe("the scripts for a test cluster", { timeout: 120_000 }, () => {
  expectNoLeaks();

  it("start three nodes on the ports that are asked for, once, and end them", async () => {
    await using directory = await makeTempDirectory();
    const reserved = await Promise.all([reservePort(), reservePort(), reservePort()]);
    const addresses = reserved.map(({ port }) => `127.0.0.1:${port}`);
    const script = (name: string): Promise<string> =>
      runToEnd(fileURLToPath(new URL(`../../../scripts/${name}`, import.meta.url)), [], {
        env: {
          ...process.env,
          TEST_CLUSTER_STATE: join(directory.path, "test-cluster"),
          TEST_SERVER_PORTS: reserved.map(({ port }) => port).join(","),
        },
      });
    try {
      expect(await script("start-test-cluster")).toBe(`listening on ${addresses.join(",")}`);
      expect(await Promise.all(addresses.map(ask))).toEqual(addresses);
      await expect(script("start-test-cluster")).rejects.toThrow(/runs already/);
    } finally {
      await script("stop-test-cluster");
      for (const reservation of reserved) reservation[Symbol.dispose]();
    }
    for (const address of addresses) {
      await expect(ask(address)).rejects.toMatchObject({ code: "CONNECTION_REFUSED" });
    }
    // Nothing to stop is no error.
    await script("stop-test-cluster");
  });
});
