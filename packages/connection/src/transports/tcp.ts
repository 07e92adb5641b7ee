import { createServer, connect as netConnect, type Server, type Socket } from "node:net";
import { type Abortable, type Clock, systemClock } from "@holdfast/kernel";
import { copyOf } from "@holdfast/protocol";
import { formatAddress, parseAddress } from "../address.ts";
import {
  AddressInUseError,
  ConnectionRefusedError,
  ConnectionTimeoutError,
  NetworkError,
} from "../errors.ts";
import type { Link, Listener, Transport } from "../transport.ts";
import { SocketLink } from "./socket-link.ts";

export interface TcpTransportOptions {
  /** Bounds dialling and closing. Default: the machine's clock. */
  readonly clock?: Clock;
}

export const DIAL_TIMEOUT_MS = 5_000;
/** Silence after which the operating system starts to probe; our own heartbeats are faster where they run. */
const KEEP_ALIVE_MS = 30_000;

export const SOCKET_OPTIONS = {
  noDelay: true,
  keepAlive: true,
  keepAliveInitialDelay: KEEP_ALIVE_MS,
} as const;

/**
 * Where all sockets that were dialled read into, one after the other: a copy of what came costs less than the 64 KiB
 * that Node takes for each read and gives back in part. Sockets of a server cannot be opened so.
 */
const READ_BUFFER = Buffer.allocUnsafeSlow(64 * 1024);

/** Links over TCP: no-delay, keep-alive, frames of one turn of the event loop in one write, or in two. Not encrypted. */
export const tcpTransport = (options: TcpTransportOptions = {}): Transport => {
  const clock = options.clock ?? systemClock;
  return {
    kind: "tcp",
    dial: (address, dialOptions = {}) =>
      dialSocket({
        address,
        clock,
        ...dialOptions,
        open: ({ host, port }, receive) => {
          const callback = (length: number): boolean => {
            receive(copyOf(READ_BUFFER.subarray(0, length)));
            return true;
          };
          const onread = { buffer: READ_BUFFER, callback };
          return netConnect({ host, port, ...SOCKET_OPTIONS, onread }).pause();
        },
        readyEvent: "connect",
        toError: networkErrorOf,
      }),
    listen: (address, onLink) =>
      listenSocket({
        address,
        clock,
        onLink,
        open: (onSocket) => createServer({ ...SOCKET_OPTIONS }, onSocket),
      }),
  };
};

export interface DialSocketOptions extends Abortable {
  readonly address: string;
  readonly clock: Clock;
  readonly timeoutMs?: number;
  /** The socket emits what it reads as `data`, or, paused until then, gives it to `receive`. */
  readonly open: (
    target: { readonly host: string; readonly port: number },
    receive: (chunk: Uint8Array) => void,
  ) => Socket;
  readonly readyEvent: "connect" | "secureConnect";
  /** What an error means before the socket is ready. */
  readonly toError: (address: string, error: Error) => Error;
  /** What an error means afterwards. Default: ConnectionLostError. */
  readonly toLinkError?: (address: string, error: Error) => Error;
}

/** Opens a socket and waits until it is ready; whatever goes wrong, no socket stays open. */
export const dialSocket = async (options: DialSocketOptions): Promise<Link> => {
  const { signal, clock } = options;
  signal?.throwIfAborted();
  const target = parseAddress(options.address);
  const address = formatAddress(target);
  const timeoutMs = options.timeoutMs ?? DIAL_TIMEOUT_MS;
  const socket = options.open(target, (chunk) => link.receive(chunk));
  // Taken before it is ready, so that no early error goes unheard.
  const link: SocketLink = new SocketLink(socket, {
    clock,
    remoteAddress: address,
    ...(options.toLinkError === undefined ? {} : { toError: options.toLinkError }),
  });
  await new Promise<void>((resolve, reject) => {
    const settle = (error?: unknown): void => {
      timer.cancel();
      signal?.removeEventListener("abort", onAbort);
      socket.off(options.readyEvent, onReady);
      socket.off("error", onError);
      if (error === undefined) resolve();
      else {
        link.destroy();
        reject(error);
      }
    };
    const onReady = (): void => settle();
    const onError = (error: Error): void => settle(options.toError(address, error));
    const onAbort = (): void => settle(signal?.reason);
    const timer = clock.schedule(timeoutMs, () => settle(new ConnectionTimeoutError(address, timeoutMs)));
    socket.once(options.readyEvent, onReady);
    socket.once("error", onError);
    signal?.addEventListener("abort", onAbort, { once: true });
  });
  return link;
};

export interface ListenSocketOptions {
  readonly address: string;
  readonly clock: Clock;
  readonly onLink: (link: Link) => void;
  readonly open: (onSocket: (socket: Socket) => void) => Server;
}

export const listenSocket = async (options: ListenSocketOptions): Promise<Listener> => {
  const target = parseAddress(options.address, { field: "listen" });
  const server = options.open((socket) => {
    const remoteAddress = formatAddress({ host: socket.remoteAddress ?? "", port: socket.remotePort ?? 0 });
    options.onLink(new SocketLink(socket, { clock: options.clock, remoteAddress }));
  });
  await new Promise<void>((resolve, reject) => {
    const onError = (error: NodeJS.ErrnoException): void => reject(listenErrorOf(options.address, error));
    server.once("error", onError);
    server.listen({ host: target.host, port: target.port }, () => {
      server.off("error", onError);
      resolve();
    });
  });
  // Errors of a listening socket (out of file handles) cost the connection at hand, not the process.
  server.on("error", () => undefined);
  const bound = server.address();
  const port = bound !== null && typeof bound === "object" ? bound.port : target.port;
  const address = formatAddress({ host: target.host, port });
  let closed: Promise<void> | undefined;
  const close = (): Promise<void> => {
    closed ??= new Promise<void>((resolve) => {
      // The callback waits for open links too; those stay, so only the listening socket is waited for.
      server.close();
      resolve();
    });
    return closed;
  };
  return { address, close, [Symbol.asyncDispose]: close };
};

const listenErrorOf = (address: string, error: NodeJS.ErrnoException): Error =>
  error.code === "EADDRINUSE"
    ? new AddressInUseError(address, { cause: error })
    : new NetworkError(address, error.message, { cause: error });

/** What a failed dial means. Node reports several tried addresses as one AggregateError with the code of the first. */
export const networkErrorOf = (address: string, error: Error & { code?: string }): Error => {
  if (error.code === "ECONNREFUSED") return new ConnectionRefusedError(address, { cause: error });
  return new NetworkError(address, error.code ?? error.message, { cause: error });
};
