import { integerOption } from "../sql/integer-option.ts";

/** One PostgreSQL node as HAProxy sees it: where it listens, and where its Patroni tells what it is. */
export interface HaproxyNode {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly restPort: number;
}

export interface HaproxyOptions {
  readonly nodes: readonly HaproxyNode[];
  /** Where HAProxy listens. Default 127.0.0.1. */
  readonly listenHost?: string | undefined;
  /** Leads to the primary, and only to it. */
  readonly writePort: number;
  /** Leads to the replica with the fewest connections. */
  readonly readPort: number;
  /** Its figures, without a login: keep it on loopback. */
  readonly statsPort: number;
  /** Milliseconds between two health checks of a node that is well, 100 to 60_000. Default 1_000. */
  readonly checkEveryMs?: number | undefined;
}

/** A replica further behind takes no reads; the check of a proxy knows no shorter bound than Patroni's last round. */
const READ_LAG_MAX = "16MB";
const NODE_CONNECTIONS_MAX = 100;

/**
 * A configuration of HAProxy (2.4 or newer) that finds the primary and the replicas by Patroni's health checks and cuts
 * the sessions of a server that lost its role. It is a second or two behind what it checks: verify what you connect
 * to, as `openCluster` with `{ kind: "proxy" }` does.
 * @throws InvalidInputError naming the number that cannot be.
 */
export const haproxyConfig = (options: HaproxyOptions): string => {
  const { nodes, listenHost = "127.0.0.1" } = options;
  const port = (field: string, value: number): number => integerOption(field, value, 1, 65_535);
  const writePort = port("writePort", options.writePort);
  const readPort = port("readPort", options.readPort);
  const statsPort = port("statsPort", options.statsPort);
  const checkEveryMs = integerOption("checkEveryMs", options.checkEveryMs ?? 1_000, 100, 60_000);
  const servers = nodes
    .map(
      ({ name, host, port, restPort }) =>
        `  server ${name} ${host}:${port} maxconn ${NODE_CONNECTIONS_MAX} check port ${restPort}`,
    )
    .join("\n");
  // Quicker while something changes: a primary that went is missed, one that came is waited for.
  const inter = `inter ${checkEveryMs}ms fastinter 200ms downinter ${Math.ceil(checkEveryMs / 2)}ms`;
  return `global
  maxconn 1000
defaults
  mode tcp
  retries 1
  option redispatch
  timeout connect 1s
  timeout client 30m
  timeout server 30m
  timeout queue 2s
  timeout check 1s
  default-server ${inter} fall 2 rise 1 on-marked-down shutdown-sessions
frontend write
  bind ${listenHost}:${writePort}
  default_backend write
frontend read
  bind ${listenHost}:${readPort}
  default_backend read
backend write
  option httpchk OPTIONS /primary
  http-check expect status 200
${servers}
backend read
  balance leastconn
  option httpchk OPTIONS /replica?lag=${READ_LAG_MAX}
  http-check expect status 200
${servers}
listen stats
  bind ${listenHost}:${statsPort}
  mode http
  stats enable
  stats uri /
`;
};
