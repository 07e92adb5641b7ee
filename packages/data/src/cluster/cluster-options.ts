import type { Abortable } from "@holdfast/kernel";
import { InvalidInputError } from "@holdfast/kernel";
import type { PostgresOptions } from "../postgres/open-postgres.ts";
import { parseServerUrl, type ServerAddress } from "../postgres/server-address.ts";
import { integerOption } from "../sql/integer-option.ts";

/** Where a server listens. */
export interface HostAndPort {
  readonly host: string;
  readonly port: number;
}

/** How members are found. */
export type ClusterDiscovery =
  /**
   * By the REST interface of Patroni: every member's URL that is known, for example `http://db1:8008`. One that
   * answers is enough; the servers themselves are learnt from it.
   */
  | {
      readonly kind: "patroni";
      readonly urls: readonly string[];
      /** A certificate authority for https. */
      readonly ca?: string | undefined;
    }
  /**
   * By the hosts of `url`, which may be several: `postgres://user@db1:5432,db2:5432/app`. Name all of them: an old
   * primary that goes on alone is told from the new one only by what the others say. So nobody leads before each was
   * asked once, and one that does not answer delays the opening by `probeTimeoutMs`.
   */
  | { readonly kind: "hosts" }
  /** By the ports of a proxy, `host:port`: one that leads to the primary, one that leads to replicas. */
  | { readonly kind: "proxy"; readonly write: string; readonly read?: string | undefined };

export interface ClusterOptions extends Abortable, Omit<PostgresOptions, "url"> {
  /** User, password, database and TLS for every server, and the servers themselves where nothing else finds them. */
  readonly url: string;
  /** Default `{ kind: "hosts" }`. */
  readonly discovery?: ClusterDiscovery | undefined;
  /**
   * Turns the address that a member gives into the one under which we reach it: port forwarding, a proxy for each
   * server. Default: as it is. While it throws, that server stays where it was, or is not asked; it is called again.
   */
  readonly mapAddress?: ((member: HostAndPort & { readonly name: string }) => HostAndPort) | undefined;
  /** Milliseconds between two looks at each server and each Patroni, 50 to 60_000. Default 1_000; a tenth of a second while something is wrong. */
  readonly pollEveryMs?: number | undefined;
  /** Milliseconds for one look, 50 to 60_000. Default 1_000. */
  readonly probeTimeoutMs?: number | undefined;
  /**
   * Milliseconds that a write waits for a primary when there is none, at least 0; a planned switchover by this process
   * is waited out whatever it says. Then NoPrimaryError, retryable; where every server refuses user, password or database,
   * that error at once. Default 2_000: a switchover by others passes, a
   * failover is reported soon. The `timeoutMs` of a statement ends either wait.
   */
  readonly primaryWaitMs?: number | undefined;
  /** A replica further behind takes no reads. Milliseconds; default 5_000. */
  readonly lagMaxMs?: number | undefined;
  /** The same in bytes. Default 16 MiB. */
  readonly lagMaxBytes?: number | undefined;
  /** What a read does when no replica may serve it. Default "primary". */
  readonly readFallback?: "primary" | "error" | undefined;
  /** Milliseconds that a session's read waits for a replica to catch up before it goes to the primary. Default 100. */
  readonly catchUpMs?: number | undefined;
  /** Milliseconds that COMMIT may wait for a synchronous replica, 0 is no limit. Default 10_000. */
  readonly commitTimeoutMs?: number | undefined;
  /** Whether opening waits for a primary. Default true; without one a look at every server is enough. */
  readonly needsPrimary?: boolean | undefined;
  /** The only database system to accept. Default: that of the first server that answers. */
  readonly systemId?: string | undefined;
}

export interface ClusterSettings {
  readonly pollEveryMs: number;
  readonly probeTimeoutMs: number;
  readonly primaryWaitMs: number;
  readonly lagMaxMs: number;
  readonly lagMaxBytes: bigint;
  readonly readFallback: "primary" | "error";
  readonly catchUpMs: number;
  readonly commitTimeoutMs: number | undefined;
}

const DAY_MS = 86_400_000;

/** @throws InvalidInputError naming the option. */
export const readClusterOptions = (options: ClusterOptions): ClusterSettings => {
  const commitTimeoutMs = integerOption("commitTimeoutMs", options.commitTimeoutMs ?? 10_000, 0, DAY_MS);
  const readFallback = options.readFallback ?? "primary";
  if (readFallback !== "primary" && readFallback !== "error") {
    throw new InvalidInputError("readFallback", readFallback, '"primary" or "error"');
  }
  return {
    pollEveryMs: integerOption("pollEveryMs", options.pollEveryMs ?? 1_000, 50, 60_000),
    probeTimeoutMs: integerOption("probeTimeoutMs", options.probeTimeoutMs ?? 1_000, 50, 60_000),
    primaryWaitMs: integerOption("primaryWaitMs", options.primaryWaitMs ?? 2_000, 0, DAY_MS),
    lagMaxMs: integerOption("lagMaxMs", options.lagMaxMs ?? 5_000, 0, DAY_MS),
    lagMaxBytes: BigInt(
      integerOption("lagMaxBytes", options.lagMaxBytes ?? 16 * 1024 * 1024, 0, Number.MAX_SAFE_INTEGER),
    ),
    readFallback,
    catchUpMs: integerOption("catchUpMs", options.catchUpMs ?? 100, 0, DAY_MS),
    commitTimeoutMs: commitTimeoutMs === 0 ? undefined : commitTimeoutMs,
  };
};

/** Reads `host:port`, `[address]:port` or a host alone. @throws InvalidInputError naming `field`. */
export const parseHostAndPort = (text: string, field: string, defaultPort = 5_432): HostAndPort => {
  const match = /^(\[[^\]]+\]|[^:[\]/@\s]+)(?::(\d{1,5}))?$/.exec(text.trim());
  const port = match?.[2] === undefined ? defaultPort : Number(match[2]);
  if (match?.[1] === undefined || port < 1 || port > 65_535) {
    throw new InvalidInputError(field, text, "of the form host:port");
  }
  return { host: match[1].replace(/^\[(.*)\]$/, "$1"), port };
};

/**
 * Reads a URL with one host or several (`postgres://user@db1:5432,db2:5432/app`): who we are everywhere, and where.
 * @throws InvalidInputError naming the part, never showing the password.
 */
export const parseClusterUrl = async (
  text: string,
): Promise<{ readonly address: ServerAddress; readonly hosts: readonly HostAndPort[] }> => {
  const match = /^([a-z]+:\/\/(?:[^/?#]*@)?)([^/?#@]*)(.*)$/is.exec(text);
  const hosts = (match?.[2] ?? "").split(",").map((host) => host.trim());
  if (match === null || hosts.length === 1) {
    const address = await parseServerUrl(text);
    return { address, hosts: [{ host: address.host, port: address.port }] };
  }
  const parsed = hosts.map((host) => parseHostAndPort(host, "url.host"));
  const address = await parseServerUrl(`${match[1]}${hosts[0]}${match[3]}`);
  return { address, hosts: parsed };
};
