import { VirtualClock } from "@holdfast/kernel/testing";
import { BroadcastClient, type BroadcastClientOptions } from "../src/client/index.ts";
import { FakeSocket } from "../src/testing/fake-socket.ts";

/** A client on a virtual clock, whose sockets a test plays the server of. */
export const setUpClient = (options: BroadcastClientOptions = {}) => {
  const clock = new VirtualClock();
  const sockets: FakeSocket[] = [];
  const wakers = new Set<() => void>();
  const client = new BroadcastClient("ws://test/ws/broadcast", {
    tabs: false,
    reconnectJitter: 0,
    ...options,
    platform: {
      clock,
      openSocket: (url) => {
        const socket = new FakeSocket(url);
        sockets.push(socket);
        return socket;
      },
      onWake: (callback) => {
        wakers.add(callback);
        return () => wakers.delete(callback);
      },
      ...options.platform,
    },
  });
  const states: string[] = [];
  client.onStateChange((state) => states.push(state));
  return {
    client,
    clock,
    sockets,
    states,
    wake: () => {
      for (const waker of wakers) waker();
    },
    /** The newest socket, once it was opened. */
    socket: async (): Promise<FakeSocket> => {
      await clock.advance(0);
      return sockets.at(-1) as FakeSocket;
    },
    connected: async (): Promise<FakeSocket> => {
      client.connect();
      await clock.advance(0);
      const socket = sockets.at(-1) as FakeSocket;
      socket.welcome();
      await clock.advance(0);
      return socket;
    },
  };
};
