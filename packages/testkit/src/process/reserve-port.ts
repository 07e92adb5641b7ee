import { createSocket, type Socket } from "node:dgram";
import { createServer } from "node:net";
import { randomInt, systemRandom } from "@holdfast/kernel";
import { ConditionTimeoutError } from "../errors.ts";

/** Below the kernel's ephemeral range (32768 and up), so that no outgoing connection takes the port meanwhile. */
const PORT_MIN = 18_000;
const PORT_MAX = 32_000;
const TRY_MAX_COUNT = 200;

/** A TCP port on 127.0.0.1 that no other caller of `reservePort` on this machine gets until it is released. */
export interface PortReservation extends Disposable {
  readonly port: number;
}

const claim = (port: number): Promise<Socket | undefined> =>
  new Promise((resolve) => {
    const socket = createSocket({ type: "udp4", reuseAddr: false });
    socket.once("error", () => {
      socket.close();
      resolve(undefined);
    });
    socket.bind({ address: "127.0.0.1", port, exclusive: true }, () => resolve(socket.unref()));
  });

const canListen = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen({ host: "127.0.0.1", port, exclusive: true }, () => server.close(() => resolve(true)));
  });

/**
 * Finds a free port and keeps it for the caller, also while the server that uses it is down.
 *
 * The claim is the UDP port of the same number: it does not hinder a TCP server, other test processes see
 * it, and the kernel frees it however the process ends.
 *
 * @throws ConditionTimeoutError when 200 random ports between 18,000 and 32,000 were all taken.
 */
export const reservePort = async (): Promise<PortReservation> => {
  for (let attempt = 1; attempt <= TRY_MAX_COUNT; attempt++) {
    const port = PORT_MIN + randomInt(systemRandom, PORT_MAX - PORT_MIN);
    const socket = await claim(port);
    if (!socket) continue;
    if (await canListen(port)) {
      let released = false;
      return {
        port,
        [Symbol.dispose]() {
          if (!released) socket.close();
          released = true;
        },
      };
    }
    socket.close();
  }
  throw new ConditionTimeoutError(`a free port between ${PORT_MIN} and ${PORT_MAX}`, 0);
};
