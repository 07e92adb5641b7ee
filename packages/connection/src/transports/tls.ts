import { isIP, type Socket } from "node:net";
import { createServer, type SecureVersion, connect as tlsConnect } from "node:tls";
import { type Clock, systemClock } from "@holdfast/kernel";
import { TlsError } from "../errors.ts";
import type { Transport } from "../transport.ts";
import { lostBy } from "./socket-link.ts";
import { dialSocket, listenSocket, networkErrorOf, SOCKET_OPTIONS } from "./tcp.ts";
import { checkAuthorities } from "./tls-authorities.ts";
import { checkIdentity, requireIdentity } from "./tls-identity.ts";

export interface TlsTransportOptions {
  /** Bounds dialling and closing. Default: the machine's clock. */
  readonly clock?: Clock;
  /** Our certificate chain, PEM, with its key. Needed to listen, and to dial where the other side asks for one. */
  readonly certificate?: string | Buffer;
  /** The private key of `certificate`, PEM. */
  readonly key?: string | Buffer;
  /** The authorities that we trust, PEM: one or more, each of which can be read. Default: those that come with Node. */
  readonly authorities?: string | Buffer | readonly (string | Buffer)[];
  /** Mutual TLS: whoever dials us must show a certificate of `authorities`. Default false. */
  readonly requireClientCertificate?: boolean;
  /** The name that the other side's certificate must be for. Default: the host that is dialled. */
  readonly serverName?: string;
}

/** TLS 1.2 has no known break, but nothing that speaks this protocol is older than 1.3. */
const VERSION_MIN: SecureVersion = "TLSv1.3";

/**
 * Links over TLS 1.3. There is no way to accept a certificate that does not fit, and no fall-back to plain
 * TCP: what cannot be secured fails with TlsError. `listen` fails with InvalidInputError, naming the field, without
 * `certificate` and `key`.
 * @throws InvalidInputError at once, naming `certificate`, `key` or `authorities`, when it cannot be read, or when
 * certificate and key are no pair. What was given is not in the error. Not retryable.
 */
export const tlsTransport = (options: TlsTransportOptions): Transport => {
  checkIdentity(options);
  checkAuthorities(options.authorities);
  const clock = options.clock ?? systemClock;
  const secrets = {
    minVersion: VERSION_MIN,
    ...(options.certificate === undefined ? {} : { cert: options.certificate }),
    ...(options.key === undefined ? {} : { key: options.key }),
    ...(options.authorities === undefined
      ? {}
      : {
          ca: Array.isArray(options.authorities) ? [...options.authorities] : (options.authorities as string),
        }),
  };
  return {
    kind: "tls",
    dial: (address, dialOptions = {}) =>
      dialSocket({
        address,
        clock,
        ...dialOptions,
        open: ({ host, port }) => {
          const name = options.serverName ?? host;
          return tlsConnect({
            host,
            port,
            ...secrets,
            ...SOCKET_OPTIONS,
            // SNI carries names only; the certificate is checked against an address all the same.
            ...(isIP(name) === 0 ? { servername: name } : {}),
          });
        },
        readyEvent: "secureConnect",
        toError: tlsErrorOf,
        toLinkError: (at, error) =>
          // With TLS 1.3 the other side judges our certificate after we think that the connection stands.
          isTlsProblem(error) ? tlsErrorOf(at, error) : lostBy(at, error),
      }),
    listen: async (address, onLink) => {
      requireIdentity(options);
      return listenSocket({
        address,
        clock,
        onLink,
        open: (onSocket: (socket: Socket) => void) => {
          const server = createServer(
            {
              ...secrets,
              ...SOCKET_OPTIONS,
              requestCert: options.requireClientCertificate ?? false,
              rejectUnauthorized: options.requireClientCertificate ?? false,
              handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
            },
            onSocket,
          );
          // A dialler that fails the TLS handshake costs only its own socket.
          server.on("tlsClientError", (_error, socket) => socket.destroy());
          return server;
        },
      });
    },
  };
};

const HANDSHAKE_TIMEOUT_MS = 5_000;

const isTlsProblem = (error: Error & { code?: string }): boolean =>
  !/^E[A-Z]+$/.test(error.code ?? "") || error.code === "EPROTO";

const tlsErrorOf = (address: string, error: Error): Error =>
  isTlsProblem(error)
    ? new TlsError(address, error.message, { cause: error })
    : networkErrorOf(address, error);
