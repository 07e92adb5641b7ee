import { VirtualClock } from "@holdfast/kernel/testing";
import type { BroadcastClientOptions } from "@holdfast/live/client";
import { FakeSocket } from "@holdfast/live/testing";
import { act, type ReactNode, StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { BroadcastProvider } from "../src/index.ts";

(globalThis as { IS_REACT_ACT_ENVIRONMENT?: boolean }).IS_REACT_ACT_ENVIRONMENT = true;

/** A page with a provider over fake sockets and a virtual clock. */
export const openPage = () => {
  const clock = new VirtualClock();
  const sockets: FakeSocket[] = [];
  const options: BroadcastClientOptions = {
    tabs: false,
    platform: {
      clock,
      random: { next: () => 0.5 },
      onWake: () => () => undefined,
      openSocket: (url) => {
        const socket = new FakeSocket(url);
        sockets.push(socket);
        return socket;
      },
    },
  };
  const container = document.createElement("div");
  const root = createRoot(container);
  let url = "ws://one";
  const settle = (ms = 0): Promise<void> => act(() => clock.advance(ms));
  const render = async (children: ReactNode): Promise<void> => {
    await act(async () =>
      root.render(
        <StrictMode>
          <BroadcastProvider url={url} options={options}>
            {children}
          </BroadcastProvider>
        </StrictMode>,
      ),
    );
    await settle();
  };
  return {
    clock,
    sockets,
    container,
    render,
    settle,
    moveTo: (next: string) => {
      url = next;
    },
    /** Welcomes the newest socket and acknowledges what it asks for. */
    connect: async (): Promise<FakeSocket> => {
      const socket = sockets.at(-1) as FakeSocket;
      await act(async () => socket.welcome());
      await settle();
      if (socket.sentWith("subscribe").length > 0) await act(async () => socket.acknowledge());
      return socket;
    },
    unmount: () => act(async () => root.unmount()),
    [Symbol.asyncDispose]: () => act(async () => root.unmount()),
  };
};

let offset = 0;
/** The next event of a channel whose epoch is 1. */
export const eventOf = (channel: string, payload: Record<string, unknown> = {}, rest: object = {}) => {
  offset += 1;
  return { channel, event: "updated", payload, id: `id-${offset}`, ...rest };
};
