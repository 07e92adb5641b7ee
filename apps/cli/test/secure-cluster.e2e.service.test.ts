import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { makeTempDirectory, reservePort, startPostgres } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { expect, it } from "vitest";
import { runHoldfast, startHoldfast, WORKFLOWS } from "./holdfast-command.ts";

const MAKE_SECRETS = fileURLToPath(new URL("../../../deploy/make-secrets", import.meta.url));

describeService("postgres", "a cluster that listens beyond this machine", () => {
  it("runs a job for who has a token, over TLS between all its nodes, and nothing for who has not", async () => {
    await using directory = await makeTempDirectory("secure");
    execFileSync(MAKE_SECRETS, [directory.path], { stdio: "ignore" });
    const secret = (name: string): string => `${directory.path}/${name}`;
    const tls = [
      "--tls-cert",
      secret("node.crt"),
      "--tls-key",
      secret("node.key"),
      "--tls-ca",
      secret("ca.crt"),
    ];
    const security = [...tls, "--tokens", secret("tokens.json")];
    await using postgres = await startPostgres();
    const env = {
      HOLDFAST_DATABASE: postgres.url,
      HOLDFAST_TOKEN: readFileSync(secret("node-token"), "utf8"),
    };
    using managerPort = await reservePort();
    using gatePort = await reservePort();
    const manager = `localhost:${managerPort.port}`;
    const gate = `localhost:${gatePort.port}`;
    const start = async (...args: readonly string[]) => {
      const node = await startHoldfast([...args, "--json"], { env });
      await node.waitForLine(/^\{"event":"ready"/, { timeoutMs: 60_000 });
      return node;
    };
    const listen = (port: number, advertise: string) => [
      "--listen",
      `0.0.0.0:${port}`,
      "--advertise",
      advertise,
    ];
    const place = ["--datacenter", "east"];
    await using _manager = await start(
      "manager",
      ...place,
      ...listen(managerPort.port, manager),
      ...security,
    );
    await using _worker = await start(
      "worker",
      ...place,
      "--manager",
      manager,
      "--workflows",
      WORKFLOWS,
      "--tls-ca",
      secret("ca.crt"),
    );
    await using _gate = await start(
      "gate",
      ...listen(gatePort.port, gate),
      "--datacenter",
      `east=${manager}`,
      ...security,
    );

    const submit = (token: string | undefined, ...more: readonly string[]) =>
      runHoldfast(
        [
          "submit",
          "load-test",
          "--input",
          '{"ratePerSecond":10,"durationMs":300}',
          "--gate",
          gate,
          "--json",
          ...more,
        ],
        { env: token === undefined ? {} : { HOLDFAST_TOKEN: token } },
      );
    const authority = ["--tls-ca", secret("ca.crt")];
    const client = readFileSync(secret("client-token"), "utf8");
    const done = await submit(client, ...authority, "--watch", "--wait", "30s");
    expect(done.code).toBe(0);
    expect(done.lines.at(-1)).toContain('"completed"');

    const withoutToken = await submit(undefined, ...authority);
    expect(withoutToken.code).toBe(1);
    expect(withoutToken.output).toContain("AUTHENTICATION");
    const wrongToken = await submit("x".repeat(48), ...authority);
    expect(wrongToken.code).toBe(1);
    expect(wrongToken.output).toContain("AUTHENTICATION");
    expect(wrongToken.output).not.toContain("x".repeat(48));
    const withoutTls = await submit(client, "--wait", "2s");
    expect(withoutTls.code).toBe(1);
    expect(withoutTls.output).not.toContain(client);
  }, 120_000);
});
