// @vitest-environment happy-dom

import { deferred } from "@holdfast/kernel";
import { type Change, OptimisticStore } from "@holdfast/live/client";
import { act, type ReactNode, StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { describe, expect, it } from "vitest";
import { type OptimisticMutation, useOptimisticMutation, useOptimisticValue } from "../src/index.ts";
import "./rendering.tsx";

const mutators = {
  add: (item: string): readonly Change[] => [
    { key: ["items"], apply: (value) => [...((value ?? []) as string[]), item] },
  ],
};

const openItems = async (send: (item: string) => Promise<unknown>) => {
  const store = new OptimisticStore({ mutators });
  store.setBase(["items"], ["tea"]);
  const result: { current?: OptimisticMutation<string, unknown> } = {};
  const Items = (): ReactNode => {
    const items = useOptimisticValue<readonly string[]>(store, ["items"]);
    result.current = useOptimisticMutation(store, "add", { send: (_context, item) => send(item) });
    const { pendingCount, error } = result.current;
    return <p>{`${items?.join()} ${pendingCount} ${error instanceof Error ? error.message : "fine"}`}</p>;
  };
  const container = document.createElement("div");
  const root = createRoot(container);
  const render = () =>
    act(async () =>
      root.render(
        <StrictMode>
          <Items />
        </StrictMode>,
      ),
    );
  await render();
  return {
    store,
    container,
    render,
    result: result as { readonly current: OptimisticMutation<string, unknown> },
  };
};

describe("useOptimisticMutation", () => {
  it("shows a change in the same turn, what is under way, and takes it back with the error when it fails", async () => {
    const server = deferred<void>();
    const { container, result } = await openItems(() => server.promise);
    const { mutate } = result.current;
    await act(async () => {
      mutate("milk").done.catch(() => undefined);
    });
    expect(container.textContent).toBe("tea,milk 1 fine");
    await act(async () => server.reject(new Error("sold out")));
    expect(container.textContent).toBe("tea 0 sold out");
  });

  it("keeps `mutate` the same function over renders, sends the newest way, and keeps what the server took", async () => {
    const sent: string[] = [];
    const { container, render, result, store } = await openItems(async (item) => sent.push(item));
    const { mutate } = result.current;
    await render();
    expect(result.current.mutate).toBe(mutate);
    let id = "";
    await act(async () => {
      id = mutate("milk").id;
    });
    await act(async () => void store.handleEvent({ origin: { mutation: id } }));
    expect(sent).toEqual(["milk"]);
    expect(container.textContent).toBe("tea,milk 0 fine");
    expect(store.pendingCount).toBe(0);
  });
});
