// @vitest-environment happy-dom
import { act, type ReactNode } from "react";
import { renderToString } from "react-dom/server";
import { describe, expect, it } from "vitest";
import { BroadcastProvider, useBroadcast, useBroadcastState, useChannel, usePresence } from "../src/index.ts";
import { eventOf, openPage } from "./rendering.tsx";

const State = (): ReactNode => <b>{useBroadcastState()}</b>;

describe("BroadcastProvider", () => {
  it("connects on mount with one socket in strict mode, shows the state, and disconnects on unmount", async () => {
    await using page = openPage();
    await page.render(<State />);
    expect(page.sockets).toHaveLength(1);
    expect(page.container.textContent).toBe("connecting");
    const socket = await page.connect();
    expect(page.container.textContent).toBe("connected");
    await page.unmount();
    expect(socket.state).toBe("closing");
    await page.clock.advance(60_000);
    expect(page.sockets).toHaveLength(1);
    expect(page.clock.pendingCount).toBe(0);
  });

  it("reconnects when the address changes, with its subscriptions, and lets the old socket go", async () => {
    await using page = openPage();
    const seen: unknown[] = [];
    const Listener = (): ReactNode => {
      useChannel("a", ({ payload }) => seen.push(payload["n"]));
      return <State />;
    };
    await page.render(<Listener />);
    const first = await page.connect();
    page.moveTo("ws://two");
    await page.render(<Listener />);
    expect(page.sockets.map(({ url }) => url)).toEqual(["ws://one", "ws://two"]);
    expect(first.state).toBe("closing");
    const second = await page.connect();
    expect(second.sentWith("subscribe")).toHaveLength(1);
    await act(async () => {
      first.receive(eventOf("a", { n: "old" }));
      second.receive(eventOf("a", { n: "new" }));
    });
    expect(seen).toEqual(["new"]);
    expect(page.container.textContent).toBe("connected");
  });

  it("renders on a server, disconnected, and connects nothing", () => {
    const html = renderToString(
      <BroadcastProvider url="ws://nowhere" options={{ tabs: false }}>
        <State />
      </BroadcastProvider>,
    );
    expect(html).toBe("<b>disconnected</b>");
  });

  it("is asked for by name when a hook is used outside it", () => {
    const Lost = (): ReactNode => <i>{useBroadcast().id}</i>;
    for (const lost of [<Lost key="a" />, <State key="b" />]) {
      expect(() => renderToString(lost)).toThrow("must be used inside <BroadcastProvider>");
    }
  });
});

describe("useChannel", () => {
  it("sends no further subscription over 100 renders, calls the newest handler, and unsubscribes at the end", async () => {
    await using page = openPage();
    const seen: string[] = [];
    const Listener = ({ round }: { readonly round: number }): ReactNode => {
      useChannel("a", () => seen.push(`round ${round}`));
      return null;
    };
    await page.render(<Listener round={0} />);
    const socket = await page.connect();
    for (let round = 1; round <= 100; round += 1) await page.render(<Listener round={round} />);
    expect(socket.sentWith("subscribe")).toHaveLength(1);
    expect(socket.sentWith("unsubscribe")).toHaveLength(0);
    await act(async () => socket.receive(eventOf("a")));
    expect(seen).toEqual(["round 100"]);
    await page.render(null);
    expect(socket.sentWith("unsubscribe").map(({ unsubscribe }) => unsubscribe)).toEqual([["a"]]);
  });
});

describe("usePresence", () => {
  it("shows who is there as they come and go", async () => {
    await using page = openPage();
    const Room = (): ReactNode => (
      <p>
        {usePresence("room", { name: "me" })
          .map(({ client }) => client)
          .join()}
      </p>
    );
    await page.render(<Room />);
    const socket = page.sockets[0] as (typeof page.sockets)[0];
    await act(async () => socket.welcome());
    await page.settle();
    expect(socket.sentWith("subscribe")[0]?.subscribe).toEqual([
      { channel: "room", presence: { name: "me" } },
    ]);
    const presence = (client: string) => ({ key: client, client, data: {} });
    const position = { epoch: "1", offset: "0" };
    const present = [presence("me"), presence("ada")];
    await act(async () => socket.acknowledge([{ channel: "room", state: "new", position, present }]));
    expect(page.container.textContent).toBe("me,ada");
    await act(async () => {
      socket.receive({ presence: { channel: "room", join: presence("bob") } });
      socket.receive({ presence: { channel: "room", leave: presence("ada") } });
    });
    expect(page.container.textContent).toBe("me,bob");
    await page.render(<Room />);
    expect(socket.sentWith("subscribe")).toHaveLength(1);
  });
});
