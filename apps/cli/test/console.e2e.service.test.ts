import { chromiumPath, makeTempDirectory, reservePort } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { askHoldfast, startDev } from "./holdfast-command.ts";

/** What keeps a headless browser from calling home, which a closed network would refuse many times over. */
const QUIET = [
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--no-first-run",
];

describeService("chromium", "the console in a real browser", () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await chromium.launch({ executablePath: chromiumPath(), args: QUIET });
  });
  afterAll(async () => {
    await browser?.close();
  });

  /** A page that fails the test when a script of it fails. */
  const openPage = async (url: string): Promise<{ readonly page: Page; readonly failures: string[] }> => {
    const page = await browser.newPage();
    const failures: string[] = [];
    page.on("pageerror", (error) => failures.push(error.message));
    await page.goto(url);
    return { page, failures };
  };

  it("shows a job from its submission to its result without a reload, and offers its reports", async () => {
    await using directory = await makeTempDirectory("console");
    const { dev, ready } = await startDev(["--port", "0", "--data-dir", `${directory.path}/data`]);
    await using _dev = dev;
    const { page, failures } = await openPage(`${ready.console}/jobs`);
    await page.getByText("No jobs yet").waitFor();
    const { jobId } = await askHoldfast<{ jobId: string }>(["submit", "import", "--gate", ready.gate]);
    await page.getByRole("link", { name: jobId }).click();
    await page.getByRole("heading", { name: "import" }).getByText("completed").waitFor({ timeout: 60_000 });
    expect(
      await page.getByRole("progressbar", { name: "Progress of the job" }).getAttribute("aria-valuenow"),
    ).toBe("100");
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      page.getByRole("button", { name: "CSV" }).click(),
    ]);
    expect(download.suggestedFilename()).toBe(`${jobId}.csv`);
    expect(failures).toEqual([]);
  }, 120_000);

  it("cancels a running job after asking once more", async () => {
    await using directory = await makeTempDirectory("console-cancel");
    const { dev, ready } = await startDev(["--port", "0", "--data-dir", `${directory.path}/data`]);
    await using _dev = dev;
    const { jobId } = await askHoldfast<{ jobId: string }>([
      "submit",
      "load-test",
      "--duration",
      "60s",
      "--gate",
      ready.gate,
    ]);
    const { page } = await openPage(`${ready.console}/jobs/${jobId}`);
    await page.getByRole("button", { name: "Cancel job" }).click();
    await page.getByRole("button", { name: "Yes, cancel it" }).click();
    await page
      .getByRole("heading", { name: "load-test" })
      .getByText("cancelled")
      .waitFor({ timeout: 60_000 });
  }, 120_000);

  it("says that the connection is lost when the process is killed, and goes on by itself when it is back", async () => {
    await using directory = await makeTempDirectory("console-kill");
    using port = await reservePort();
    const args = ["--port", String(port.port), "--data-dir", `${directory.path}/data`];
    const first = await startDev(args);
    await using firstDev = first.dev;
    const { jobId } = await askHoldfast<{ jobId: string }>([
      "submit",
      "import",
      "--input",
      '{"pauseMs":50,"batchRows":500}',
      "--gate",
      first.ready.gate,
    ]);
    const { page, failures } = await openPage(`${first.ready.console}/jobs/${jobId}`);
    await page.getByRole("heading", { name: "import" }).getByText("running").waitFor({ timeout: 30_000 });
    await firstDev.kill("SIGKILL");
    await page.getByText("The connection to the gate is lost").waitFor();
    const second = await startDev(args);
    await using _secondDev = second.dev;
    await page.getByRole("heading", { name: "import" }).getByText("completed").waitFor({ timeout: 90_000 });
    await page.getByText("live", { exact: true }).waitFor();
    expect(failures).toEqual([]);
  }, 180_000);

  it("can be used with the keyboard alone", async () => {
    await using directory = await makeTempDirectory("console-keyboard");
    const { dev, ready } = await startDev(["--port", "0", "--data-dir", `${directory.path}/data`]);
    await using _dev = dev;
    const { page } = await openPage(ready.console);
    await page.getByRole("heading", { name: "Who leads" }).waitFor();
    await page.keyboard.press("Tab");
    expect(await page.evaluate("document.activeElement.textContent")).toBe("Skip to content");
    for (let presses = 0; presses < 3; presses += 1) await page.keyboard.press("Tab");
    expect(await page.evaluate("document.activeElement.textContent")).toBe("Jobs");
    await page.keyboard.press("Enter");
    await page.getByText("No jobs yet").waitFor();
  });
});
