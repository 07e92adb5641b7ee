import { expectNoLeaks } from "@holdfast/testkit/vitest";
import { describe, expect, it, vi } from "vitest";
import { WebSocket } from "ws";
import { BroadcastClient, type LocksLike, shareSocket, type TabChannelLike } from "../src/client/index.ts";
import { TestLiveServer } from "../src/testing/index.ts";

interface Waiting {
  readonly start: () => void;
  readonly tab: string;
}

/** The Web Locks of one browser, for one name: first come, first served, and they end with their tab. */
class BrowserLocks {
  #holder: { readonly tab: string; readonly lose: () => void } | undefined;
  #queue: Waiting[] = [];

  forTab(tab: string): LocksLike {
    return {
      request: (_name, { steal = false, signal }, callback) =>
        new Promise<void>((resolve, reject) => {
          const start = (): void => {
            const holder = { tab, lose: () => reject(new DOMException("stolen", "AbortError")) };
            this.#holder = holder;
            callback().then(() => {
              resolve();
              if (this.#holder === holder) this.#next();
            }, reject);
          };
          signal?.addEventListener("abort", () => {
            this.#queue = this.#queue.filter((each) => each.start !== start);
            if (this.#holder?.tab !== tab) reject(signal.reason);
          });
          if (steal) {
            const { lose } = this.#holder ?? {};
            start();
            lose?.();
          } else if (this.#holder === undefined)
            queueMicrotask(() => (this.#holder ? this.#queue.push({ start, tab }) : start()));
          else this.#queue.push({ start, tab });
        }),
    };
  }

  /** The tab is gone: what it held is free, what it waited for is forgotten. */
  end(tab: string): void {
    this.#queue = this.#queue.filter((each) => each.tab !== tab);
    if (this.#holder?.tab === tab) this.#next();
  }

  #next(): void {
    this.#holder = undefined;
    this.#queue.shift()?.start();
  }
}

/** Passes messages between the tabs, until one is frozen or killed. */
class BrowserTabs {
  readonly #channels = new Set<{ readonly tab: string; readonly channel: TabChannelLike }>();
  readonly silent = new Set<string>();

  open(tab: string): TabChannelLike {
    const channel: TabChannelLike = {
      onmessage: null,
      postMessage: (message) => {
        if (this.silent.has(tab)) return;
        const data = structuredClone(message);
        const others = [...this.#channels].filter((each) => each.channel !== channel);
        setTimeout(() => {
          for (const other of others) {
            if (this.#channels.has(other) && !this.silent.has(other.tab))
              other.channel.onmessage?.({ data } as never);
          }
        });
      },
      close: () => {
        for (const each of this.#channels) if (each.channel === channel) this.#channels.delete(each);
      },
    };
    this.#channels.add({ tab, channel });
    return channel;
  }
}

const openBrowser = (server: TestLiveServer) => {
  const locks = new BrowserLocks();
  const tabs = new BrowserTabs();
  const clients: BroadcastClient[] = [];
  return {
    openTab: async (tab: string) => {
      const sockets: WebSocket[] = [];
      const openSocket = shareSocket({
        locks: locks.forTab(tab),
        answerWithinMs: 400,
        platform: {
          openSocket: (url) => {
            const socket = new WebSocket(url);
            sockets.push(socket);
            return socket as never;
          },
          openTabChannel: () => tabs.open(tab),
        },
      });
      const client = new BroadcastClient(server.url, {
        platform: { openSocket },
        tabs: false,
        reconnectDelay: 10,
        reconnectDelayMax: 50,
      });
      clients.push(client);
      const seen: unknown[] = [];
      const gaps: unknown[] = [];
      client.onGap((gap) => gaps.push(gap));
      client.subscribe("a", ({ payload }) => seen.push(payload["n"]));
      client.connect();
      await client.ready("a");
      return {
        client,
        seen,
        gaps,
        sees: (count: number) =>
          vi.waitFor(() => expect(seen).toEqual(Array.from({ length: count }, (_, index) => index + 1)), {
            timeout: 30_000,
          }),
        /** Ends without a word, as a tab whose process is killed. */
        kill: () => {
          tabs.silent.add(tab);
          for (const socket of sockets) socket.terminate();
          client.disconnect();
          locks.end(tab);
        },
        /** Nothing of it runs; its lock and its socket stay. */
        freeze: () => void tabs.silent.add(tab),
      };
    },
    [Symbol.dispose]: () => {
      for (const client of clients) client.disconnect();
    },
  };
};

const publish = async (server: TestLiveServer, from: number, to: number): Promise<void> => {
  for (let n = from; n <= to; n += 1) await server.live.broadcast("a", "e", { n });
};

expectNoLeaks();

describe("one socket for the tabs of a browser", () => {
  it("brings every event to every tab once, over one connection", async () => {
    await using server = await TestLiveServer.start();
    using browser = openBrowser(server);
    const tabs = [await browser.openTab("1"), await browser.openTab("2"), await browser.openTab("3")];
    expect(server.live.stats()).toMatchObject({ connectionCount: 1, subscriptionCount: 1 });
    await publish(server, 1, 20);
    for (const tab of tabs) await tab.sees(20);
    expect(server.live.stats().eventsOut).toBe(20);
  });

  it("asks for what any tab wants, and leaves a channel with the last of them", async () => {
    await using server = await TestLiveServer.start();
    using browser = openBrowser(server);
    const one = await browser.openTab("1");
    const two = await browser.openTab("2");
    const leave = [one, two].map(({ client }) => client.subscribe("b", () => undefined));
    for (const { client } of [one, two]) await client.ready("b");
    leave[0]?.();
    await one.client.ready("a");
    await publish(server, 1, 1);
    await two.sees(1);
    expect(server.live.channels).toEqual(["a", "b"]);
    leave[1]?.();
    await vi.waitFor(() => expect(server.live.channels).toEqual(["a"]));
  });

  it("goes on in another tab without loss or repeat when the leading one closes", async () => {
    await using server = await TestLiveServer.start();
    using browser = openBrowser(server);
    const one = await browser.openTab("1");
    const two = await browser.openTab("2");
    const three = await browser.openTab("3");
    await publish(server, 1, 5);
    for (const tab of [one, two, three]) await tab.sees(5);
    one.client.disconnect();
    await publish(server, 6, 10);
    for (const tab of [two, three]) await tab.sees(10);
    expect(server.live.stats().connectionCount).toBe(1);
    expect([two.gaps, three.gaps]).toEqual([[], []]);
  });

  it("goes on in another tab when the leading one is killed", async () => {
    await using server = await TestLiveServer.start();
    using browser = openBrowser(server);
    const one = await browser.openTab("1");
    const two = await browser.openTab("2");
    const three = await browser.openTab("3");
    one.kill();
    await publish(server, 1, 10);
    for (const tab of [two, three]) await tab.sees(10);
    await vi.waitFor(() => expect(server.live.stats().connectionCount).toBe(1));
    expect([two.gaps, three.gaps]).toEqual([[], []]);
  });

  it("takes the lead from a tab that is frozen", async () => {
    await using server = await TestLiveServer.start();
    using browser = openBrowser(server);
    const one = await browser.openTab("1");
    const two = await browser.openTab("2");
    await publish(server, 1, 3);
    for (const tab of [one, two]) await tab.sees(3);
    one.freeze();
    await publish(server, 4, 6);
    // Whatever it asks of the leading tab is not answered any more.
    two.client.subscribe("b", () => undefined);
    await two.client.ready("b");
    await two.sees(6);
    await publish(server, 7, 8);
    await two.sees(8);
    expect(two.gaps).toEqual([]);
  });

  it("tells every tab of a refusal for good", async () => {
    await using server = await TestLiveServer.start({ authenticate: async () => ({}) });
    using browser = openBrowser(server);
    // Without a token nobody is let in.
    const refused = { code: "LIVE_NOT_CONNECTED" };
    const opening = [browser.openTab("1"), browser.openTab("2")];
    await Promise.all(opening.map((tab) => expect(tab).rejects.toMatchObject(refused)));
  });

  it("is a socket of its own where there are no Web Locks", async () => {
    await using server = await TestLiveServer.start();
    const openSocket = shareSocket({ platform: { openSocket: (url) => new WebSocket(url) as never } });
    const client = new BroadcastClient(server.url, { platform: { openSocket }, tabs: false });
    client.subscribe("a", () => undefined);
    client.connect();
    await client.ready("a");
    client.disconnect();
  });

  it("is a socket of its own where Web Locks are refused, as they are to a page without an origin", async () => {
    await using server = await TestLiveServer.start();
    const tabs = new BrowserTabs();
    const openSocket = shareSocket({
      locks: { request: () => Promise.reject(new DOMException("no origin", "SecurityError")) },
      platform: {
        openSocket: (url) => new WebSocket(url) as never,
        openTabChannel: () => tabs.open("1"),
      },
    });
    const client = new BroadcastClient(server.url, { platform: { openSocket }, tabs: false });
    client.subscribe("a", () => undefined);
    client.connect();
    await client.ready("a");
    client.disconnect();
  });

  it("says why it cannot be opened, and is tried again", async () => {
    const openSocket = shareSocket({
      locks: new BrowserLocks().forTab("1"),
      platform: {
        openSocket: () => {
          throw new TypeError("no sockets here");
        },
        openTabChannel: () => new BrowserTabs().open("1"),
      },
    });
    const client = new BroadcastClient("ws://test/", { platform: { openSocket }, tabs: false });
    client.connect();
    await vi.waitFor(() => expect(client.detail.reason).toBe("no sockets here"));
    expect(client.state).toBe("reconnecting");
    client.disconnect();
  });
});
