import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { findProgram } from "../process/find-program.ts";
import { startProcess } from "../process/managed-process.ts";
import { reservePort } from "../process/reserve-port.ts";
import { building, type ResourceStack } from "../process/resource-stack.ts";
import { makeTempDirectory } from "../process/temp-directory.ts";
import { requireService } from "./availability.ts";
import { type RunningServer, ServerProcess } from "./server-process.ts";

/** One PostgreSQL node as HAProxy sees it: where it listens, and where Patroni tells what it is. */
export interface HaproxyBackend {
  readonly name: string;
  readonly port: number;
  readonly restPort: number;
}

export interface Haproxy extends RunningServer {
  readonly host: string;
  /** Leads to the primary, and only to it. */
  readonly writePort: number;
  /** Leads to the replicas in turn. */
  readonly readPort: number;
}

const configOf = (ports: { write: number; read: number }, backends: readonly HaproxyBackend[]): string => {
  const servers = backends
    .map((each) => `  server ${each.name} 127.0.0.1:${each.port} maxconn 100 check port ${each.restPort}`)
    .join("\n");
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
  default-server inter 500ms fastinter 200ms downinter 300ms fall 2 rise 1 on-marked-down shutdown-sessions
frontend write
  bind 127.0.0.1:${ports.write}
  default_backend write
frontend read
  bind 127.0.0.1:${ports.read}
  default_backend read
backend write
  option httpchk OPTIONS /primary
  http-check expect status 200
${servers}
backend read
  balance roundrobin
  option httpchk OPTIONS /replica?lag=16MB
  http-check expect status 200
${servers}
`;
};

class HaproxyProcess extends ServerProcess implements Haproxy {
  readonly host = "127.0.0.1";
  readonly writePort: number;
  readonly readPort: number;

  constructor(ports: { write: number; read: number }, config: string, resources: ResourceStack) {
    const name = `haproxy on ports ${ports.write} and ${ports.read}`;
    super({
      name,
      launch: () => startProcess(findProgram("haproxy") ?? "haproxy", ["-db", "-f", config], { name }),
      ready: (proxy) => proxy.waitForLine(/Loading success|New worker|Proxy write started/),
      resources,
    });
    this.writePort = ports.write;
    this.readPort = ports.read;
  }
}

/**
 * Starts an HAProxy that finds the primary and the replicas by Patroni's health checks, as a production one does.
 * @throws ServiceUnavailableError when HAProxy is not installed.
 */
export const startHaproxy = async (backends: readonly HaproxyBackend[]): Promise<Haproxy> => {
  requireService("haproxy");
  return building(async (resources) => {
    const directory = resources.use(await makeTempDirectory("holdfast-haproxy-"));
    const write = resources.use(await reservePort()).port;
    const read = resources.use(await reservePort()).port;
    const config = join(directory.path, "haproxy.cfg");
    await writeFile(config, configOf({ write, read }, backends));
    const proxy = new HaproxyProcess({ write, read }, config, resources);
    await proxy.start();
    return proxy;
  });
};
