import { InvalidInputError } from "@holdfast/kernel";

export interface HostAndPort {
  /** Without the brackets of an IPv6 literal. */
  readonly host: string;
  readonly port: number;
}

/**
 * Reads `host:port`, `[v6]:port`, and, where there is a default port, `host` and `[v6]` alone.
 * @throws InvalidInputError naming `field`.
 */
export const parseAddress = (
  text: string,
  options: { readonly field?: string; readonly defaultPort?: number } = {},
): HostAndPort => {
  const field = options.field ?? "address";
  const match = /^(?:\[([0-9a-fA-F:.]+(?:%[\w.-]+)?)\]|([^\s:[\]/]+))(?::(\d{1,5}))?$/.exec(text.trim());
  const host = match?.[1] ?? match?.[2];
  const port = match?.[3] === undefined ? options.defaultPort : Number(match[3]);
  if (host === undefined || port === undefined || port > 65_535) {
    // Who writes a user into an address may have written a password too.
    const shown = text.replace(/^.*@/s, "[not shown]@");
    throw new InvalidInputError(field, shown, "host:port with a port from 0 to 65535");
  }
  return { host, port };
};

/** Whether only this machine is reached by it. A name other than `localhost` may be anyone's. */
export const isLoopback = (host: string): boolean =>
  host === "localhost" || host === "::1" || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host);

/** `host:port`, with brackets where the host is an IPv6 literal. */
export const formatAddress = ({ host, port }: HostAndPort): string =>
  host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
