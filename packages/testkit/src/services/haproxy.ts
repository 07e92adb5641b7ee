import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { haproxyConfig } from "@holdfast/data";
import { ProcessFailedError } from "../errors.ts";
import { canConnect } from "../process/can-connect.ts";
import { findProgram } from "../process/find-program.ts";
import { startProcess } from "../process/managed-process.ts";
import { reservePort } from "../process/reserve-port.ts";
import { building, type ResourceStack } from "../process/resource-stack.ts";
import { makeTempDirectory } from "../process/temp-directory.ts";
import { waitUntil } from "../process/wait-until.ts";
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
  /** Leads to the replica with the fewest connections. */
  readonly readPort: number;
  /** How many servers a health check has found fit for a port: 1 and the number of replicas when all is well. */
  activeCount(port: "write" | "read"): Promise<number>;
}

/** Tests wait for what a check finds. */
const CHECK_EVERY_MS = 500;

interface Ports {
  readonly write: number;
  readonly read: number;
  readonly stats: number;
}

class HaproxyProcess extends ServerProcess implements Haproxy {
  readonly host = "127.0.0.1";
  readonly writePort: number;
  readonly readPort: number;

  readonly #statsPort: number;

  constructor(ports: Ports, config: string, resources: ResourceStack) {
    const name = `haproxy on ports ${ports.write} and ${ports.read}`;
    super({
      name,
      launch: () => startProcess(findProgram("haproxy") ?? "haproxy", ["-db", "-f", config], { name }),
      // It prints nothing when all is well, and ends at once when its configuration is wrong.
      ready: async (proxy) => {
        const ended = proxy.exited.then(() => false);
        const listening = waitUntil(`${name} to listen`, () => canConnect(ports.write), { intervalMs: 10 });
        if (!(await Promise.race([ended, listening])))
          throw new ProcessFailedError(`${name} ended`, proxy.output);
      },
      resources,
    });
    this.writePort = ports.write;
    this.readPort = ports.read;
    this.#statsPort = ports.stats;
  }

  async activeCount(port: "write" | "read"): Promise<number> {
    const answer = await fetch(`http://127.0.0.1:${this.#statsPort}/;csv`, {
      signal: AbortSignal.timeout(2_000),
    });
    const [header = "", ...rows] = (await answer.text()).split("\n");
    const names = header.replace(/^# /, "").split(",");
    const cells = rows.map((row) => row.split(","));
    const cell = (row: readonly string[], name: string): string => row[names.indexOf(name)] ?? "";
    // Until its first check a server counts as up, so the check itself is looked at too.
    return cells.filter(
      (row) =>
        cell(row, "pxname") === port &&
        cell(row, "status") === "UP" &&
        cell(row, "check_status").startsWith("L7OK"),
    ).length;
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
    const stats = resources.use(await reservePort()).port;
    const ports = { write, read, stats };
    const config = join(directory.path, "haproxy.cfg");
    await writeFile(
      config,
      haproxyConfig({
        nodes: backends.map((each) => ({ ...each, host: "127.0.0.1" })),
        writePort: write,
        readPort: read,
        statsPort: stats,
        checkEveryMs: CHECK_EVERY_MS,
      }),
    );
    const proxy = new HaproxyProcess(ports, config, resources);
    await proxy.start();
    return proxy;
  });
};
