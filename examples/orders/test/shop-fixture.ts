import { createRedisStore } from "@holdfast/coordination/redis";
import { type Database, openEmbedded, openRedis, type Redis } from "@holdfast/data";
import { type ChannelLog, MemoryChannelLog, StoredChannelLog } from "@holdfast/live/server";
import { chromiumPath, createFaultProxy, type FaultProxy, startRedis } from "@holdfast/testkit";
import { type Browser, type BrowserContext, chromium, type Page, type Request } from "playwright-core";
import { expect, vi } from "vitest";
import { type Shop, type ShopOptions, startShop } from "../src/server/index.ts";

/** What keeps a headless browser from calling home. */
const QUIET = [
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--no-first-run",
];

/** How long anything may take on a busy machine: a page tries again within 20 s, for example. */
const LIMIT_MS = 60_000;
vi.setConfig({ testTimeout: 3 * LIMIT_MS, hookTimeout: 3 * LIMIT_MS });

/** A shop behind a network that can fail, and a browser. */
export interface ShopFixture extends AsyncDisposable {
  readonly shop: Shop;
  /** Between the browser and the shop. */
  readonly network: FaultProxy;
  readonly url: string;
  /** A browser of its own: nothing is shared with the others, as on another machine. */
  openBrowser(): Promise<BrowserContext>;
  /** Calls the shop directly, past the network of the browser. */
  call(method: string, path: string, body?: unknown): Promise<Response>;
  /** No orders, no browsers, a network that works. */
  reset(): Promise<void>;
}

/** Where events and the cache live. */
const openBackend = async (
  backend: "memory" | "redis",
  owned: (() => Promise<unknown>)[],
): Promise<{ readonly log: ChannelLog; readonly redis?: Redis }> => {
  if (backend === "memory") return { log: new MemoryChannelLog() };
  const server = await startRedis();
  owned.push(async () => server[Symbol.asyncDispose]());
  const redis = openRedis({ url: server.url });
  owned.push(() => redis.close());
  const store = await createRedisStore({ redis, namespace: "shop" });
  owned.push(() => store.close());
  return { log: new StoredChannelLog({ log: store.log }), redis };
};

export const startFixture = async (
  backend: "memory" | "redis",
  options: Partial<ShopOptions> = {},
): Promise<ShopFixture> => {
  const owned: (() => Promise<unknown>)[] = [];
  const sql: Database = await openEmbedded();
  owned.push(() => sql.close());
  const { log, redis } = await openBackend(backend, owned);
  owned.push(() => log.close());
  const shop = await startShop({
    sql,
    ...(redis === undefined ? {} : { redis }),
    signals: { with: "commit", log },
    ...options,
  });
  owned.push(() => shop.close());
  const network = await createFaultProxy({ target: { port: Number(new URL(shop.url).port) } });
  owned.push(async () => network[Symbol.asyncDispose]());
  const browser: Browser = await chromium.launch({ executablePath: chromiumPath(), args: QUIET });
  owned.push(() => browser.close());
  return {
    shop,
    network,
    url: `http://${network.host}:${network.port}`,
    openBrowser: () => browser.newContext({ viewport: { width: 900, height: 640 } }),
    call: (method, path, body) =>
      fetch(`${shop.url}${path}`, {
        method,
        ...(body === undefined
          ? {}
          : { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
      }),
    reset: async () => {
      await network.heal();
      for (const context of browser.contexts()) await context.close();
      await sql.query("TRUNCATE orders, order_mutations RESTART IDENTITY");
      await shop.clearCache();
    },
    [Symbol.asyncDispose]: async () => {
      for (const close of owned.reverse()) await close();
    },
  };
};

/** One tab, as its user sees it. */
export class Tab {
  readonly page: Page;
  /** Addresses of the lists that were fetched, and of those that came. */
  readonly fetched: string[] = [];
  readonly answered: string[] = [];
  readonly failures: string[] = [];
  /** Names of the messages over its WebSockets, by direction. */
  readonly heard: string[] = [];
  readonly sent: string[] = [];

  private constructor(page: Page) {
    this.page = page;
    page.on("pageerror", (error) => this.failures.push(error.message));
    const noteIn = (list: string[]) => (request: Request) => {
      const { pathname } = new URL(request.url());
      if (request.method() === "GET" && pathname === "/api/orders") list.push(request.url());
    };
    page.on("request", noteIn(this.fetched));
    page.on("requestfinished", noteIn(this.answered));
    page.on("websocket", (socket) => {
      socket.on("framereceived", ({ payload }) => this.heard.push(String(payload)));
      socket.on("framesent", ({ payload }) => this.sent.push(String(payload)));
    });
  }

  /** @param query Who is there, and what else the page is told. */
  static async open(fixture: ShopFixture, context: BrowserContext, query = "ann"): Promise<Tab> {
    const tab = new Tab(await context.newPage());
    await tab.page.goto(`${fixture.url}/?user=${query}`);
    await tab.isLive();
    await tab.page
      .getByText(/No orders yet|o-\d+/)
      .first()
      .waitFor();
    // Then the server has taken up its channel, and it has fetched once more.
    await vi.waitFor(() => expect(tab.answered.join()).toContain("after="));
    return tab;
  }

  async isLive(): Promise<void> {
    await this.page.getByText("live", { exact: true }).waitFor({ timeout: LIMIT_MS });
  }

  async take(item: string): Promise<void> {
    await this.page.getByLabel("Item").fill(item);
    await this.page.getByRole("button", { name: "Take order" }).click();
  }

  /** Lets no change of this method reach the shop until the function that comes back is called. */
  async holdBack(method: string): Promise<() => void> {
    let letGo = (): void => undefined;
    const held = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    await this.page.route("**/api/orders**", async (route) => {
      if (route.request().method() === method) await held;
      await route.continue();
    });
    return letGo;
  }

  /** The text of each row, as number, item, quantity and state. */
  async rows(): Promise<readonly string[]> {
    const rows = await this.page.locator(".order").all();
    return Promise.all(
      rows.map(async (row) => {
        const parts = [".number", ".item", ".stepper output", ".badge"];
        return (await Promise.all(parts.map((part) => row.locator(part).innerText()))).join(" ");
      }),
    );
  }

  async shows(rows: readonly string[], timeout = LIMIT_MS): Promise<void> {
    await vi.waitFor(
      async () => {
        const shown = await this.rows();
        if (JSON.stringify(shown) !== JSON.stringify(rows))
          throw new Error(`it shows ${JSON.stringify(shown)}`);
      },
      { timeout, interval: 20 },
    );
  }

  /** Notes the number of rows at each change of the page from now on. */
  async countRows(): Promise<() => Promise<readonly number[]>> {
    await this.page.evaluate(`{
      window.rowCounts = [];
      const count = () => window.rowCounts.push(document.querySelectorAll(".order").length);
      new MutationObserver(count).observe(document.getElementById("root"), { childList: true, subtree: true });
    }`);
    return () => this.page.evaluate("window.rowCounts");
  }

  eventCount(name: string): number {
    return this.heard.filter((text) => text.includes(`"event":"${name}"`)).length;
  }
}
