import { type Deferred, deferred, seededRandom, silentLogger } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { afterEach, describe, expect, it } from "vitest";
import { ConnectError } from "../errors.ts";
import type { PostgresConnection } from "./connection.ts";
import { NotificationListener } from "./notification-listener.ts";

/** A connection to a server that is known by its name. */
const connectionTo = (server: string) => {
  const gone = deferred<void>();
  let deliver: (channel: string, payload: string) => void = () => undefined;
  return {
    server,
    gone: gone.promise,
    notify: (channel: string, payload: string) => deliver(channel, payload),
    onNotification: (listener: typeof deliver) => {
      deliver = listener;
    },
    run: async () => ({ rows: [], rowCount: 0, command: "LISTEN" }),
    close: async () => gone.resolve(),
  };
};
type Connection = ReturnType<typeof connectionTo>;

describe("a listener for notifications", () => {
  const clock = new VirtualClock();
  const opened: Connection[] = [];
  /** Answers to what was asked to be opened, in order; none yet: it waits. */
  const asked: Deferred<Connection>[] = [];
  const listener = (): NotificationListener => {
    opened.length = 0;
    asked.length = 0;
    return new NotificationListener({
      open: async () => {
        const answer = deferred<Connection>();
        asked.push(answer);
        const connection = await answer.promise;
        opened.push(connection);
        return connection as unknown as PostgresConnection;
      },
      clock,
      random: seededRandom(1),
      logger: silentLogger,
    });
  };
  const turns = () => clock.advance(0);
  let current: NotificationListener | undefined;
  afterEach(() => current?.close());

  const listening = async () => {
    const told: string[] = [];
    current = listener();
    const first = current.listen(
      "news",
      () => undefined,
      (what) => told.push(what),
    );
    await turns();
    asked[0]?.resolve(connectionTo("old"));
    await first;
    return { told, notifications: current };
  };

  it("tells who was told of a loss that there is another connection, whoever had it opened", async () => {
    const { told, notifications } = await listening();
    await opened[0]?.close();
    await turns();
    asked[1]?.reject(new ConnectError("old", "it is down"));
    await turns();
    expect(told).toEqual(["lost"]);
    // Quicker than the next attempt.
    const second = notifications.listen("other", () => undefined);
    await turns();
    asked[2]?.resolve(connectionTo("new"));
    await second;
    expect(told).toEqual(["lost", "listening"]);
    await clock.advance(60_000);
    expect(told).toEqual(["lost", "listening"]);
  });

  it("leaves a connection that was being opened when it was to lead elsewhere", async () => {
    const { told, notifications } = await listening();
    await opened[0]?.close();
    await turns();
    notifications.reconnect();
    asked[1]?.resolve(connectionTo("old"));
    await turns();
    asked[2]?.resolve(connectionTo("new"));
    await turns();
    expect(opened.map(({ server }) => server)).toEqual(["old", "old", "new"]);
    expect(told.at(-1)).toBe("listening");
  });
});
