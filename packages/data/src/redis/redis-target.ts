import { InvalidInputError } from "@holdfast/kernel";

/** Where Redis is: one server, the nodes of a Cluster, or Sentinels that know the master. Redis 7 or newer. */
export type RedisTarget =
  | { readonly url: string }
  | { readonly clusterUrls: readonly string[] }
  | {
      /** Name all of them: what one has not heard yet another tells. */
      readonly sentinelUrls: readonly string[];
      /** What the sentinels call the master. */
      readonly masterName: string;
      /** User and password of the Redis servers, as `redis://user:password@`, when they ask for one. */
      readonly credentialsUrl?: string;
    };

/** One server, without its secrets in the name. */
export interface RedisAddress {
  readonly host: string;
  readonly port: number;
}

export interface RedisCredentials {
  readonly username?: string;
  readonly password?: string;
  readonly tls: boolean;
  readonly database?: number;
}

export const addressName = ({ host, port }: RedisAddress): string =>
  host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;

/** @throws InvalidInputError when it is no `redis://` or `rediss://` address; the message holds no password. */
export const parseRedisUrl = (
  field: string,
  text: string,
): { readonly address: RedisAddress; readonly credentials: RedisCredentials } => {
  const refuse = (): never => {
    throw new InvalidInputError(
      field,
      // What is before the last @ may be, or hold, a password, however it was meant.
      text.replace(/^(rediss?:(?:\/\/)?)?.*@/s, "$1…@"),
      "redis://[user:password@]host[:port][/database] or rediss://…",
    );
  };
  if (!URL.canParse(text)) return refuse();
  const url = new URL(text);
  if (url.protocol !== "redis:" && url.protocol !== "rediss:") return refuse();
  const decoded = (part: string): string => {
    try {
      return decodeURIComponent(part);
    } catch {
      return refuse();
    }
  };
  const database = url.pathname.length > 1 ? Number(url.pathname.slice(1)) : undefined;
  if (database !== undefined && !(Number.isInteger(database) && database >= 0)) return refuse();
  return {
    address: {
      host: url.hostname === "" ? "127.0.0.1" : url.hostname.replace(/^\[|\]$/g, ""),
      port: url.port === "" ? 6379 : Number(url.port),
    },
    credentials: {
      tls: url.protocol === "rediss:",
      ...(url.username === "" ? {} : { username: decoded(url.username) }),
      ...(url.password === "" ? {} : { password: decoded(url.password) }),
      ...(database === undefined ? {} : { database }),
    },
  };
};
