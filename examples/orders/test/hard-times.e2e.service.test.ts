import { describeService } from "@holdfast/testkit/vitest";
import { afterAll, beforeAll, beforeEach, expect, it, vi } from "vitest";
import { type ShopFixture, startFixture, Tab } from "./shop-fixture.ts";
import { buildWorkerScript } from "./worker-script.ts";

const TOKEN_TTL_MS = 2_000;

const count = (texts: readonly string[], part: string): number =>
  texts.filter((text) => text.includes(part)).length;

describeService("chromium", "the shop's page with short tokens", () => {
  it("outlives its token on one socket, by refreshing it in time", async () => {
    // A grace that a busy machine does not use up.
    await using fixture = await startFixture("memory", {
      tokenTtlMs: TOKEN_TTL_MS,
      expiryGraceMs: 30 * TOKEN_TTL_MS,
    });
    const tab = await Tab.open(fixture, await fixture.openBrowser());
    await vi.waitFor(() => expect(count(tab.sent, '"refresh"')).toBeGreaterThanOrEqual(2), {
      timeout: 30 * TOKEN_TTL_MS,
    });
    expect(count(tab.sent, '"hello"')).toBe(1);
    await fixture.call("POST", "/api/orders", { item: "Green tea", quantity: 1 });
    await tab.shows(["o-1 Green tea 1 open"]);
    expect(tab.failures).toEqual([]);
  });

  it("wakes from a sleep over the end of its token with a new one, and shows what happened meanwhile", async () => {
    await using fixture = await startFixture("memory", { tokenTtlMs: TOKEN_TTL_MS, expiryGraceMs: 500 });
    const context = await fixture.openBrowser();
    const tab = await Tab.open(fixture, context);
    const session = await context.newCDPSession(tab.page);
    // Nothing of the page runs while it sleeps: no timer, no message.
    await session.send("Debugger.enable");
    await session.send("Debugger.pause");
    for (const item of ["Green tea", "Oat milk"])
      await fixture.call("POST", "/api/orders", { item, quantity: 1 });
    await vi.waitFor(() => expect(fixture.shop.live.stats().connectionCount).toBe(0), {
      timeout: 30 * TOKEN_TTL_MS,
      interval: 50,
    });
    await session.send("Debugger.disable");
    await tab.shows(["o-1 Green tea 1 open", "o-2 Oat milk 1 open"]);
    await tab.isLive();
    await vi.waitFor(() => expect(tab.eventCount("created")).toBe(2));
    expect(tab.failures).toEqual([]);
  });
});

describeService("chromium", "the shop's page in hard times", () => {
  let fixture: ShopFixture;
  beforeAll(async () => {
    fixture = await startFixture("memory");
  });
  afterAll(async () => {
    await fixture?.[Symbol.asyncDispose]();
  });
  beforeEach(() => fixture.reset());

  it("never shows an older value between quick changes over a slow network", async () => {
    const tab = await Tab.open(fixture, await fixture.openBrowser());
    await tab.take("Green tea");
    await tab.shows(["o-1 Green tea 1 open"]);
    fixture.network.set({ latencyMs: 150, jitterMs: 100 });
    await tab.page.evaluate(`{
      window.quantities = [];
      const note = () => {
        const shown = document.querySelector(".stepper output")?.textContent;
        if (shown !== window.quantities.at(-1)) window.quantities.push(shown);
      };
      note();
      new MutationObserver(note).observe(document.getElementById("root"), { subtree: true, characterData: true, childList: true });
    }`);
    for (let click = 0; click < 5; click += 1)
      await tab.page.getByRole("button", { name: "One Green tea more" }).click();
    expect((await tab.rows())[0]).toContain("Green tea 6");
    await tab.shows(["o-1 Green tea 6 open"]);
    await vi.waitFor(() => expect(tab.eventCount("updated")).toBe(5));
    expect(await tab.page.evaluate("window.quantities")).toEqual(["1", "2", "3", "4", "5", "6"]);
    const { quantity } = (await (await fixture.call("GET", "/api/orders")).json())[0];
    expect(quantity).toBe(6);
  });

  it("shows what somebody else did where a change comes too late", async () => {
    const tab = await Tab.open(fixture, await fixture.openBrowser());
    await tab.take("Green tea");
    await tab.shows(["o-1 Green tea 1 open"]);
    // The page hears nothing of the other change until it has made its own.
    let letGo: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    await tab.page.route("**/api/orders/o-1", async (route) => {
      await held;
      await route.continue();
    });
    await tab.page.getByRole("button", { name: "Ship", exact: true }).click();
    await tab.shows(["o-1 Green tea 1 saving"]);
    await fixture.call("PATCH", "/api/orders/o-1", { quantity: 9, version: 1 });
    await tab.shows(["o-1 Green tea 9 saving"]);
    letGo();
    await tab.page.getByText("somebody else changed it meanwhile: 9 × Green tea, open").waitFor();
    await tab.shows(["o-1 Green tea 9 open"]);
  });

  it("keeps changes made without a network over a reload, and sends each once", async () => {
    const context = await fixture.openBrowser();
    const tab = await Tab.open(fixture, context);
    await tab.page.route("**/api/orders", (route) =>
      route.request().method() === "POST" ? route.abort("internetdisconnected") : route.fallback(),
    );
    await tab.take("Green tea");
    await tab.take("Oat milk");
    await tab.page.getByText("2 changes wait").waitFor();
    await tab.page.reload();
    await tab.page.getByText("2 changes wait").waitFor();
    await tab.shows(["new Green tea 1 saving", "new Oat milk 1 saving"]);
    await tab.page.unroute("**/api/orders");
    await tab.shows(["o-1 Green tea 1 open", "o-2 Oat milk 1 open"]);
    expect(await (await fixture.call("GET", "/api/orders")).json()).toHaveLength(2);
  });

  it("has one socket for all tabs that share one, and goes on in another when the leading tab is closed", async () => {
    const context = await fixture.openBrowser();
    const tabs: Tab[] = [];
    for (let index = 0; index < 3; index += 1) tabs.push(await Tab.open(fixture, context, "ann&share"));
    expect(fixture.shop.live.stats().connectionCount).toBe(1);
    await fixture.call("POST", "/api/orders", { item: "Green tea", quantity: 1 });
    for (const tab of tabs) await tab.shows(["o-1 Green tea 1 open"]);
    const leading = tabs.find(({ heard }) => heard.length > 0);
    expect(tabs.filter(({ heard }) => heard.length > 0)).toHaveLength(1);
    await leading?.page.close();
    await fixture.call("POST", "/api/orders", { item: "Oat milk", quantity: 1 });
    const others = tabs.filter((tab) => tab !== leading);
    for (const tab of others) await tab.shows(["o-1 Green tea 1 open", "o-2 Oat milk 1 open"]);
    await vi.waitFor(() => expect(fixture.shop.live.stats().connectionCount).toBe(1));
    for (const tab of others) expect(tab.failures).toEqual([]);
  });

  it("has a client in a worker as well, which goes through a cut without missing anything", async () => {
    const context = await fixture.openBrowser();
    const page = await context.newPage();
    await page.goto(fixture.url);
    const script = JSON.stringify(await buildWorkerScript());
    await page.evaluate(`{
      window.heard = [];
      const url = URL.createObjectURL(new Blob([${script}], { type: "text/javascript" }));
      const worker = new Worker(url, { type: "module" });
      worker.onmessage = ({ data }) => window.heard.push(data);
      worker.onerror = ({ message }) => window.heard.push("failed: " + message);
      worker.postMessage(${JSON.stringify(fixture.url)});
    }`);
    const heard = (): Promise<readonly string[]> => page.evaluate("window.heard");
    const events = async () => (await heard()).filter((text) => text.startsWith("created"));
    await vi.waitFor(async () => expect(await heard()).toContain("ready"));
    const order = { item: "Green tea", quantity: 1 };
    await fixture.call("POST", "/api/orders", order);
    await vi.waitFor(async () => expect(await events()).toHaveLength(1));
    await fixture.network.refuse();
    fixture.network.reset();
    await vi.waitFor(async () => expect(await heard()).toContain("reconnecting"));
    await fixture.call("POST", "/api/orders", order);
    await fixture.network.heal();
    await vi.waitFor(async () => expect(await events()).toHaveLength(2), { timeout: 60_000 });
    const [first, second] = (await events()).map((text) => Number(text.split(" ")[1]));
    expect(second).toBe(Number(first) + 1);
    expect((await heard()).filter((text) => text.startsWith("failed"))).toEqual([]);
  });
});
