// @vitest-environment happy-dom
import { OptimisticStore } from "@holdfast/live/client";
import { act, type ReactNode, Suspense, startTransition, use, useLayoutEffect, useState } from "react";
import { createRoot } from "react-dom/client";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { BroadcastProvider, useChannel, useOptimisticValue } from "../src/index.ts";
import { eventOf, openPage } from "./rendering.tsx";

const pending = () => {
  let resolve = (): void => undefined;
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
};

describe("a render that React throws away", () => {
  it("subscribes to nothing; the one that is kept does, once", async () => {
    await using page = openPage();
    const data = pending();
    const seen: unknown[] = [];
    const Listener = (): ReactNode => {
      useChannel("a", ({ payload }) => seen.push(payload["n"]));
      use(data.promise);
      return "there";
    };
    await page.render(
      <Suspense fallback="waiting">
        <Listener />
      </Suspense>,
    );
    const socket = await page.connect();
    expect(page.container.textContent).toBe("waiting");
    expect(socket.sentWith("subscribe")).toHaveLength(0);
    await act(async () => data.resolve());
    await page.settle();
    expect(page.container.textContent).toBe("there");
    expect(socket.sentWith("subscribe")).toHaveLength(1);
    await act(async () => {
      socket.acknowledge();
      socket.receive(eventOf("a", { n: 1 }));
    });
    expect(seen).toEqual([1]);
  });

  it("connects nothing, also when the provider itself is in it", async () => {
    const data = pending();
    let opened = 0;
    const platform = {
      openSocket: (): never => {
        opened += 1;
        throw new Error("no socket is wanted");
      },
    };
    const Waiting = (): ReactNode => {
      use(data.promise);
      return null;
    };
    const root = createRoot(document.createElement("div"));
    await act(async () =>
      root.render(
        <Suspense>
          <BroadcastProvider url="ws://one" options={{ tabs: false, platform }}>
            <Waiting />
          </BroadcastProvider>
        </Suspense>,
      ),
    );
    await act(async () => root.unmount());
    expect(opened).toBe(0);
  });
});

describe("a transition", () => {
  const environment = globalThis as { IS_REACT_ACT_ENVIRONMENT?: boolean };
  beforeEach(() => {
    // React slices its work by itself, as on a page.
    environment.IS_REACT_ACT_ENVIRONMENT = false;
  });
  afterEach(() => {
    environment.IS_REACT_ACT_ENVIRONMENT = true;
  });

  it("never shows two states of one value side by side, whatever changes while it renders", async () => {
    const store = new OptimisticStore({ mutators: {} });
    const key = ["count"];
    store.setBase(key, 0);
    const commits: (readonly (string | null)[])[] = [];
    const container = document.createElement("div");
    const Value = (): ReactNode => {
      const value = useOptimisticValue<number>(store, key);
      // Longer than a slice, all together.
      for (const end = performance.now() + 2; performance.now() < end; );
      return <b>{value}</b>;
    };
    let showMany: () => void = () => undefined;
    const Page = (): ReactNode => {
      const [count, setCount] = useState(1);
      showMany = () => startTransition(() => setCount(30));
      useLayoutEffect(() => {
        commits.push([...container.querySelectorAll("b")].map(({ textContent }) => textContent));
      });
      // biome-ignore lint/suspicious/noArrayIndexKey: they are alike
      return Array.from({ length: count }, (_, index) => <Value key={index} />);
    };
    const root = createRoot(container);
    root.render(<Page />);
    await vi.waitFor(() => expect(commits).toHaveLength(1));
    showMany();
    // What another tab does meanwhile.
    for (let value = 1; value <= 10; value += 1) {
      await new Promise((resolve) => setTimeout(resolve));
      store.setBase(key, value);
    }
    const shown = () => [...container.querySelectorAll("b")].map(({ textContent }) => textContent);
    await vi.waitFor(() => expect(shown()).toEqual(Array.from({ length: 30 }, () => "10")));
    for (const commit of commits) expect(new Set(commit).size).toBe(1);
    root.unmount();
  });
});
