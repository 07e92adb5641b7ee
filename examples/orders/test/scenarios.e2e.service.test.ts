import { describeService } from "@holdfast/testkit/vitest";
import { afterAll, beforeAll, beforeEach, expect, it, vi } from "vitest";
import { type ShopFixture, startFixture, Tab } from "./shop-fixture.ts";

for (const backend of ["memory", "redis"] as const) {
  describeService(
    backend === "redis" ? ["chromium", "redis"] : "chromium",
    `the four scenarios in a browser, on ${backend}`,
    () => {
      let fixture: ShopFixture;
      beforeAll(async () => {
        fixture = await startFixture(backend);
      });
      afterAll(async () => {
        await fixture?.[Symbol.asyncDispose]();
      });
      beforeEach(() => fixture.reset());

      it("1: one client sees its order at once, one row throughout, and fetches nothing for its echo", async () => {
        const tab = await Tab.open(fixture, await fixture.openBrowser());
        const fetchCount = tab.fetched.length;
        const rowCounts = await tab.countRows();
        const letGo = await tab.holdBack("POST");
        await tab.take("Green tea");
        await tab.shows(["new Green tea 1 saving"]);
        letGo();
        await tab.shows(["o-1 Green tea 1 open"]);
        await vi.waitFor(() => expect(tab.eventCount("created")).toBe(1));
        // A fetch for the echo would be on its way within the 300 ms over which refetches are spread.
        await tab.page.waitForTimeout(400);
        expect(tab.fetched).toHaveLength(fetchCount);
        expect(new Set(await rowCounts())).toEqual(new Set([1]));
        expect(tab.failures).toEqual([]);
      });

      it("2: a second client gets the event, refetches, and both hold each order once", async () => {
        const ann = await Tab.open(fixture, await fixture.openBrowser(), "ann");
        const bob = await Tab.open(fixture, await fixture.openBrowser(), "bob");
        await ann.page.getByRole("list", { name: "Who is here" }).getByText("bo").waitFor();
        await ann.take("Green tea");
        await bob.take("Oat milk");
        const items = async (tab: Tab) => (await tab.rows()).map((row) => row.replace(/^o-\d+ /, "")).sort();
        for (const tab of [ann, bob]) {
          await vi.waitFor(async () =>
            expect(await items(tab)).toEqual(["Green tea 1 open", "Oat milk 1 open"]),
          );
        }
        await vi.waitFor(async () => expect(await ann.rows()).toEqual(await bob.rows()));
        await bob.page.getByRole("button", { name: "One Green tea more" }).click();
        await vi.waitFor(async () => expect(await items(ann)).toContain("Green tea 2 open"));
        expect([...ann.failures, ...bob.failures]).toEqual([]);
      });

      it("3: a second tab shows the order without waiting for the server, and both take it back on failure", async () => {
        const context = await fixture.openBrowser();
        const one = await Tab.open(fixture, context);
        const two = await Tab.open(fixture, context);
        let fail: () => void = () => undefined;
        const failing = new Promise<void>((resolve) => {
          fail = resolve;
        });
        await one.page.route("**/api/orders", async (route) => {
          if (route.request().method() !== "POST") return route.fallback();
          await failing;
          await route.fulfill({ status: 500, json: { error: "the shop failed" } });
        });
        await one.take("Green tea");
        for (const tab of [one, two]) await tab.shows(["new Green tea 1 saving"]);
        fail();
        for (const tab of [one, two]) await tab.page.getByText("No orders yet").waitFor();
        await one.page.getByText("Not saved: the shop refused (500)").waitFor();
        expect([...one.failures, ...two.failures]).toEqual([]);
      });

      it("4: after a cut by the server all channels come back, and what was sent meanwhile arrives once", async () => {
        const tab = await Tab.open(fixture, await fixture.openBrowser());
        await fixture.network.refuse();
        fixture.network.reset();
        await tab.page.getByText("reconnecting").waitFor();
        for (const item of ["Green tea", "Oat milk"])
          await fixture.call("POST", "/api/orders", { item, quantity: 3 });
        await tab.take("Sugar");
        await tab.page.getByText("1 change waits").waitFor();
        expect(await tab.rows()).toEqual(["new Sugar 1 saving"]);
        await fixture.network.heal();
        await tab.isLive();
        await tab.shows(["o-1 Green tea 3 open", "o-2 Oat milk 3 open", "o-3 Sugar 1 open"]);
        await vi.waitFor(() => expect(tab.eventCount("created")).toBe(3));
        await fixture.call("DELETE", "/api/orders/o-1");
        await tab.shows(["o-2 Oat milk 3 open", "o-3 Sugar 1 open"]);
        expect(tab.failures).toEqual([]);
      });
    },
  );
}
