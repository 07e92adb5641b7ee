import { connect } from "node:net";
import type { Clock } from "@holdfast/kernel";
import type { ServerAddress } from "./server-address.ts";

/** The number that marks a cancel request (PostgreSQL manual, "Message Formats"). */
const CANCEL_REQUEST_CODE = 80_877_102;
const CANCEL_REQUEST_BYTES = 16;

export interface BackendKey {
  readonly processId: number;
  readonly secretKey: number;
}

/**
 * Asks the server to cancel what a session does now. Resolves when the server has passed it on (it closes the
 * connection then), when it could not be reached, or after `timeoutMs`: only the session itself tells whether
 * the statement was cancelled. The request carries no password and is never encrypted.
 */
export const requestCancel = (
  address: ServerAddress,
  key: BackendKey,
  options: { readonly clock: Clock; readonly timeoutMs: number },
): Promise<void> =>
  new Promise((resolve) => {
    const socket = address.host.startsWith("/")
      ? connect(`${address.host}/.s.PGSQL.${address.port}`)
      : connect(address.port, address.host);
    const timer = options.clock.schedule(options.timeoutMs, () => socket.destroy());
    socket.on("connect", () => {
      const request = Buffer.alloc(CANCEL_REQUEST_BYTES);
      request.writeInt32BE(CANCEL_REQUEST_BYTES, 0);
      request.writeInt32BE(CANCEL_REQUEST_CODE, 4);
      request.writeInt32BE(key.processId, 8);
      request.writeInt32BE(key.secretKey, 12);
      socket.write(request);
    });
    socket.on("error", () => undefined);
    // Without a reader the end of the stream would never be seen.
    socket.resume();
    socket.on("close", () => {
      timer.cancel();
      resolve();
    });
  });
