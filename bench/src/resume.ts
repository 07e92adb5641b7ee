import { setTimeout as pause } from "node:timers/promises";
import { Contender } from "./live/contenders.ts";
import { type Dialect, LoadSockets, OURS, SOCKET_IO } from "./live/load-sockets.ts";
import type { Bench, BenchResult } from "./measure/bench-result.ts";
import { median } from "./measure/median.ts";

const CLIENT_COUNT = 1_000;
const MISSED_COUNT = 500;
const ROUND_COUNT = 3;

/** Connects, and later connects again so that it is given what it missed. */
interface Returning {
  readonly first: Dialect;
  /** @param lastEvent The text of the last event that it was given. */
  again(lastEvent: string): Dialect;
}

const ours = (): Returning => ({
  first: OURS,
  again: (lastEvent) => {
    const { epoch, offset } = JSON.parse(lastEvent) as { readonly epoch: string; readonly offset: string };
    const subscribe = [{ channel: "room", position: { epoch, offset } }];
    return { ...OURS, greeting: () => ['{"hello":{"version":2}}', JSON.stringify({ id: 1, subscribe })] };
  },
});

/** Each client has a session of its own, whose name it shows. */
const socketIo = (): Returning => {
  const sessions = new Map<number, string>();
  const onText: Dialect["onText"] = (text, client) => {
    if (text.startsWith("40")) sessions.set(client, (JSON.parse(text.slice(2)) as { pid: string }).pid);
    return SOCKET_IO.onText(text, client);
  };
  return {
    first: { ...SOCKET_IO, onText },
    again: (lastEvent) => {
      const offset = (JSON.parse(lastEvent.slice(2)) as readonly unknown[]).at(-1);
      return {
        ...SOCKET_IO,
        greeting: (client) => [`40${JSON.stringify({ pid: sessions.get(client), offset })}`],
      };
    },
  };
};

/** Milliseconds from the first new connection until everybody has everything. */
const round = async (contender: Contender, returning: Returning): Promise<number> => {
  const [port = 0] = contender.ports;
  const first = await LoadSockets.open({ port, count: CLIENT_COUNT, dialect: returning.first });
  contender.publish();
  await first.until(CLIENT_COUNT);
  first.close();
  await pause(500);
  contender.publishMany(MISSED_COUNT);
  await pause(1_000);
  const startedAt = performance.now();
  const back = await LoadSockets.open({
    port,
    count: CLIENT_COUNT,
    dialect: returning.again(first.lastEvent),
  });
  await back.until(CLIENT_COUNT * MISSED_COUNT);
  const tookMs = performance.now() - startedAt;
  back.close();
  await pause(500);
  return tookMs;
};

const run = async (): Promise<BenchResult> => {
  const mine = await Contender.start("ours", { clientCount: 0 });
  const peer = await Contender.start("socket.io", { clientCount: 0, env: { RECOVERY: "1" } });
  const took = { ours: [] as number[], peer: [] as number[] };
  for (let count = 0; count < ROUND_COUNT; count += 1) {
    took.ours.push(await round(mine, ours()));
    took.peer.push(await round(peer, socketIo()));
  }
  mine.close();
  peer.close();
  const perSecond = (ms: readonly number[]): number =>
    Math.round((CLIENT_COUNT * MISSED_COUNT * 1_000) / median(ms));
  return {
    unit: "events/s",
    ours: perSecond(took.ours),
    peers: { "socket.io@4.8.4 connectionStateRecovery": perSecond(took.peer) },
    higherIsBetter: true,
    notes:
      `${CLIENT_COUNT} clients come back at once and are given the ${MISSED_COUNT} events that each missed, connecting included. ` +
      `Median of ${ROUND_COUNT} rounds: ${Math.round(median(took.ours))} and ${Math.round(median(took.peer))} ms. The peer keeps ` +
      "sessions and events in the memory of one server; a client that never received an event recovers nothing there.",
  };
};

const bench: Bench = {
  name: "resume",
  description: "How fast are clients that were away given what they missed?",
  run,
};

export default bench;
