import { execFileSync } from "node:child_process";
import { connect, createServer, type Server, type Socket } from "node:net";

/** The network that the hosts share: 10.77.x.0/24, the machine itself at .1. */
const subnet = (index: number): string => `10.77.${index}`;

const run = (...args: readonly string[]): void => {
  execFileSync("ip", args, { stdio: ["ignore", "ignore", "pipe"] });
};

/** One host of its own: a network namespace with one cable to the switch. */
export interface Host {
  readonly name: string;
  readonly ip: string;
  /** What to put in front of a command that should run there. */
  readonly exec: readonly string[];
  /** Pulls the cable: nothing passes either way, and nobody is told. */
  cut(): void;
  heal(): void;
}

/**
 * Hosts on this machine whose cables can be pulled. Needs root and iproute2. Names must be short: they become
 * parts of interface names.
 */
export class Hosts implements Disposable {
  readonly #bridge: string;
  readonly #net: string;
  readonly #prefix: string;
  readonly #names: string[] = [];
  readonly #servers: Server[] = [];
  readonly #sockets = new Set<Socket>();

  constructor(index: number) {
    this.#prefix = `hf${index}`;
    this.#bridge = `${this.#prefix}-br`;
    this.#net = subnet(index);
    this.#remove();
    run("link", "add", this.#bridge, "type", "bridge");
    run("addr", "add", `${this.#net}.1/24`, "dev", this.#bridge);
    run("link", "set", this.#bridge, "up");
  }

  add(name: string): Host {
    const namespace = `${this.#prefix}-${name}`;
    const [outside, inside] = [`${namespace}-o`, `${namespace}-i`];
    const ip = `${this.#net}.${this.#names.length + 10}`;
    this.#names.push(name);
    run("netns", "add", namespace);
    run("link", "add", outside, "type", "veth", "peer", "name", inside);
    run("link", "set", outside, "master", this.#bridge);
    run("link", "set", inside, "netns", namespace);
    const within = (...args: readonly string[]): void => run("netns", "exec", namespace, "ip", ...args);
    within("addr", "add", `${ip}/24`, "dev", inside);
    within("link", "set", inside, "up");
    within("link", "set", "lo", "up");
    run("link", "set", outside, "up");
    return {
      name,
      ip,
      exec: ["ip", "netns", "exec", namespace],
      cut: () => run("link", "set", outside, "down"),
      heal: () => run("link", "set", outside, "up"),
    };
  }

  /** Makes a server that listens on this machine's loopback reachable for the hosts. Resolves with its port there. */
  async offer(port: number): Promise<{ readonly host: string; readonly port: number }> {
    const server = createServer((client) => {
      const target = connect(port, "127.0.0.1");
      for (const [from, to] of [
        [client, target],
        [target, client],
      ] as const) {
        this.#sockets.add(from);
        from.setNoDelay(true);
        from.pipe(to);
        from.on("error", () => to.destroy());
        from.on("close", () => {
          this.#sockets.delete(from);
          to.destroy();
        });
      }
    });
    this.#servers.push(server);
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(0, `${this.#net}.1`, resolve);
    });
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("the offered port is not known");
    return { host: `${this.#net}.1`, port: address.port };
  }

  [Symbol.dispose](): void {
    for (const server of this.#servers) server.close();
    for (const socket of this.#sockets) socket.destroy();
    this.#remove();
  }

  /** Also what an earlier run left behind. */
  #remove(): void {
    const namespaces = execFileSync("ip", ["netns", "list"], { encoding: "utf8" })
      .split("\n")
      .map((line) => line.split(" ")[0] ?? "")
      .filter((name) => name.startsWith(`${this.#prefix}-`));
    for (const namespace of namespaces) run("netns", "del", namespace);
    try {
      run("link", "del", this.#bridge);
    } catch {
      // It was not there.
    }
  }
}
