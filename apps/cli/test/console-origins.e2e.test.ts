import { request } from "node:http";
import { makeTempDirectory } from "@holdfast/testkit";
import { describe, expect, it } from "vitest";
import { runHoldfast, startDev } from "./holdfast-command.ts";

/** What the console answers to a browser that found it under `host`. */
const statusUnder = (console: string, host: string): Promise<number | undefined> =>
  new Promise((resolve, reject) => {
    const asked = request(`${console}/api/jobs`, { headers: { host } }, (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    asked.once("error", reject);
    asked.end();
  });

describe("--allowed-origins", () => {
  it("opens the console under the names that it lists, and under no other", async () => {
    await using directory = await makeTempDirectory("console-origins");
    const { dev, ready } = await startDev([
      "--port",
      "0",
      "--data-dir",
      `${directory.path}/data`,
      "--allowed-origins",
      "https://ops.example,http://console.lan:7400",
    ]);
    await using _dev = dev;
    for (const host of ["ops.example", "console.lan:7400", "localhost"])
      expect([host, await statusUnder(ready.console, host)]).toEqual([host, 200]);
    for (const host of ["evil.example", "console.lan"])
      expect([host, await statusUnder(ready.console, host)]).toEqual([host, 403]);
  });

  it("is refused with exit code 2 where a name is none, and where there is no console", async () => {
    const wrong = await runHoldfast(["dev", "--allowed-origins", "ops.example"]);
    expect(wrong.code).toBe(2);
    expect(wrong.output).toMatch(/--allowed-origins.*https:\/\/ops\.example.*"ops\.example"/);
    const gate = ["gate", "--datacenter", "east=127.0.0.1:7411", "--allowed-origins", "https://ops.example"];
    const pointless = await runHoldfast(gate);
    expect(pointless.code).toBe(2);
    expect(pointless.output).toMatch(/--allowed-origins.*--console/);
  });
});
