import { UsageError } from "./terminal/problem.ts";

export const DEFAULT_GATE = "127.0.0.1:7401";

/** Splits `host:port,host:port`; a missing port is `defaultPort`. @throws UsageError naming the flag. */
export const parseAddresses = (flag: string, text: string, defaultPort: number): string[] => {
  const addresses = text
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "");
  if (addresses.length === 0)
    throw new UsageError(`${flag} needs at least one host:port, got ${JSON.stringify(text)}`);
  return addresses.map((address) => withPort(flag, address, defaultPort));
};

const withPort = (flag: string, address: string, defaultPort: number): string => {
  const match = /^(\[[0-9a-fA-F:.]+\]|[^:\s]+)(?::(\d{1,5}))?$/.exec(address);
  if (match === null) throw new UsageError(`${flag}: ${JSON.stringify(address)} is not host:port`);
  const port = match[2] === undefined ? defaultPort : Number(match[2]);
  if (port < 1 || port > 65_535) throw new UsageError(`${flag}: port ${port} is not between 1 and 65535`);
  return `${match[1]}:${port}`;
};

/** Whether only this machine can reach the address. */
export const isLoopback = (host: string): boolean =>
  host === "localhost" || host === "::1" || host === "[::1]" || /^127\.\d+\.\d+\.\d+$/.test(host);

/** `host:port` in its two parts. */
export const splitAddress = (address: string): { readonly host: string; readonly port: number } => {
  const colon = address.lastIndexOf(":");
  return { host: address.slice(0, colon), port: Number(address.slice(colon + 1)) };
};
