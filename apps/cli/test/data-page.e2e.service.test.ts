import { chromiumPath, makeTempDirectory } from "@holdfast/testkit";
import { describeService } from "@holdfast/testkit/vitest";
import { chromium } from "playwright-core";
import { expect, it } from "vitest";
import { startDev } from "./holdfast-command.ts";

describeService("chromium", "the console's page about data in a real browser", () => {
  it("shows the embedded database, live, and says of each part that is not there why", async () => {
    await using directory = await makeTempDirectory("console-data");
    const { dev, ready } = await startDev(["--port", "0", "--data-dir", `${directory.path}/data`]);
    await using _dev = dev;
    const browser = await chromium.launch({ executablePath: chromiumPath(), args: ["--no-first-run"] });
    try {
      const page = await browser.newPage();
      const failures: string[] = [];
      page.on("pageerror", (error) => failures.push(error.message));
      await page.goto(ready.console);
      await page.getByRole("link", { name: "Data" }).click();
      await page.getByRole("heading", { name: "Data" }).getByText("healthy").waitFor();
      await page.getByText("embedded in this process").waitFor();
      for (const title of ["Nodes", "Failovers", "Pool", "Caches", "Shards", "Backups"])
        await page.getByRole("heading", { name: title }).waitFor();
      await page.getByText("There is nothing to fail over to").waitFor();
      // The database works, so its figures move without a reload.
      const statements = page
        .locator("dt", { hasText: /^Statements$/ })
        .locator("xpath=following-sibling::dd");
      const before = await statements.innerText();
      await expect.poll(() => statements.innerText(), { timeout: 30_000 }).not.toBe(before);
      expect(failures).toEqual([]);
    } finally {
      await browser.close();
    }
  }, 120_000);
});
