import { UnsupportedProtocolError } from "./errors.ts";
import type { Transport } from "./transport.ts";
import { type TcpTransportOptions, tcpTransport } from "./transports/tcp.ts";
import { type TlsTransportOptions, tlsTransport } from "./transports/tls.ts";

/** From worst to best. */
export const LINK_PROTOCOLS = ["udp", "tcp", "tls"] as const;
export type LinkProtocol = (typeof LINK_PROTOCOLS)[number];

/** The best protocol that both sides allow: TLS before TCP before UDP; undefined when they share none. */
export const chooseProtocol = (
  ours: readonly LinkProtocol[],
  theirs: readonly LinkProtocol[],
): LinkProtocol | undefined =>
  [...LINK_PROTOCOLS].reverse().find((protocol) => ours.includes(protocol) && theirs.includes(protocol));

/**
 * The transport of a chosen protocol.
 * @throws UnsupportedProtocolError for UDP: messages of megabytes that must keep their order do not fit datagrams.
 */
export const transportOf = (
  protocol: LinkProtocol,
  options: TcpTransportOptions & TlsTransportOptions = {},
): Transport => {
  if (protocol === "udp") throw new UnsupportedProtocolError(protocol);
  return protocol === "tls" ? tlsTransport(options) : tcpTransport(options);
};
