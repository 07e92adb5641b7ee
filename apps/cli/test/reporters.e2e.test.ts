import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { verifyWebhook } from "@holdfast/jobs/reporters";
import type { JobView } from "@holdfast/protocol/contract";
import { makeTempDirectory, waitUntil } from "@holdfast/testkit";
import { expect, it } from "vitest";
import { askHoldfast, runHoldfast, startDev } from "./holdfast-command.ts";

const SECRET = "a secret that is long enough";

it("a job's result reaches a webhook once it answers again, signed, over a kill -9 of everything in between", async () => {
  await using directory = await makeTempDirectory("reporters");
  let isBroken = true;
  const received: { deliveryId: string; jobId: string; isGenuine: boolean }[] = [];
  const receiver = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks);
    const { deliveryId, result } = JSON.parse(String(body)) as {
      deliveryId: string;
      result: { jobId: string };
    };
    const isGenuine = verifyWebhook({ headers: request.headers, body }, { secret: SECRET });
    if (!isBroken) received.push({ deliveryId, jobId: result.jobId, isGenuine });
    response.writeHead(isBroken ? 503 : 204).end();
  }).listen(0, "127.0.0.1");
  await once(receiver, "listening");
  const url = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/results`;
  const reporters = `${directory.path}/reporters.mjs`;
  const jobs = import.meta
    .resolve("@holdfast/jobs/reporters")
    .replace("/src/", "/dist/")
    .replace(/\.ts$/, ".js");
  writeFileSync(
    reporters,
    `import { createWebhookReporter } from ${JSON.stringify(jobs)};
export default [createWebhookReporter({ name: "ops", url: ${JSON.stringify(url)}, secret: ${JSON.stringify(SECRET)} })];`,
  );
  const flags = ["--port", "0", "--data-dir", `${directory.path}/data`, "--reporters", reporters];
  try {
    const first = await startDev(flags);
    const input = JSON.stringify({ ratePerSecond: 20, durationMs: 500 });
    const end = await runHoldfast([
      "submit",
      "load-test",
      "--input",
      input,
      "--gate",
      first.ready.gate,
      "--watch",
      "--json",
    ]);
    expect(end.code).toBe(0);
    const { jobId } = JSON.parse(end.lines[0] ?? "") as { jobId: string };
    const pending = await waitUntil("a failed attempt", async () => {
      const { reports } = await askHoldfast<JobView>(["job", jobId, "--gate", first.ready.gate]);
      return (reports?.[0]?.attempts ?? 0) > 0 && reports;
    });
    expect(pending).toMatchObject([
      { reporter: "ops", status: "pending", error: expect.stringMatching(/503/) },
    ]);
    await first.dev.kill("SIGKILL");

    const second = await startDev(flags);
    isBroken = false;
    await waitUntil("the report", () => received.length > 0, { timeoutMs: 60_000 });
    await waitUntil("the report being noted as delivered", async () => {
      const { reports } = await askHoldfast<JobView>(["job", jobId, "--gate", second.ready.gate]);
      return reports?.[0]?.status === "delivered";
    });
    expect(received).toEqual([{ deliveryId: expect.any(String), jobId, isGenuine: true }]);
    const shown = await runHoldfast(["job", jobId, "--gate", second.ready.gate]);
    expect(shown.output).toMatch(/report to ops: delivered after \d+ attempts/);
    await second.dev.stop();
  } finally {
    receiver.close();
    receiver.closeAllConnections();
  }
}, 120_000);

it("a module that exports no reporters is refused, naming what is missing", async () => {
  await using directory = await makeTempDirectory("reporters");
  const refused = async (code: string): Promise<string> => {
    const path = `${directory.path}/${code.length}.mjs`;
    writeFileSync(path, code);
    const end = await runHoldfast([
      "dev",
      "--port",
      "0",
      "--data-dir",
      `${directory.path}/data`,
      "--reporters",
      path,
    ]);
    expect(end.code).toBe(2);
    return end.output;
  };
  expect(await refused("export default 1;")).toMatch(/--reporters.*must export a list/);
  expect(await refused('export default [{ name: "a" }];')).toMatch(/--reporters: entry 0 .*deliver/);
  expect(await refused("export default [")).toMatch(/--reporters.*does not load/);
});
