import { type Clock, seededRandom } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import {
  ConnectionManager,
  type ConnectionManagerOptions,
  createHandlers,
  createMemoryNetwork,
  type Handlers,
  type Link,
  type Listener,
  type Server,
  type ServerOptions,
  serve,
  type Transport,
} from "../src/index.ts";
import { echo, operate, wait } from "./fixture.ts";

/** One node of a simulated cluster, and what can be done to it. */
export class ClusterNode {
  readonly host: string;
  /** Every request that reached it: the text, and the number of the connection it came over. */
  readonly calls: { readonly text: string; readonly peer: string }[] = [];
  readonly waiting = new Map<string, () => void>();
  /** Adds handlers of its own at each start. */
  register: (handlers: Handlers) => void = () => undefined;
  /** How long an answer takes. */
  delayMs = 0;
  /** Thrown by the next requests, one after the other. */
  readonly failures: (Error | undefined)[] = [];
  /** The next requests are refused with these before their handlers begin, one after the other. */
  readonly refusals: Error[] = [];
  #isFrozen = false;
  /** What came and went while the node was frozen: it does it all when it goes on, as a stopped process does. */
  #held: (() => void)[] = [];
  readonly #transport: Transport;
  readonly #clock: Clock;
  readonly #links = new Set<Link>();
  readonly #options: Partial<ServerOptions>;
  #server: Server | undefined;

  constructor(host: string, network: Transport, clock: Clock, options: Partial<ServerOptions>) {
    this.host = host;
    this.#clock = clock;
    this.#options = options;
    this.#transport = {
      kind: "simulated",
      dial: (address, dialOptions) => network.dial(address, dialOptions),
      listen: (address, onLink): Promise<Listener> =>
        network.listen(address, (link) => onLink(this.#wrap(link))),
    };
  }

  get isFrozen(): boolean {
    return this.#isFrozen;
  }

  set isFrozen(isFrozen: boolean) {
    this.#isFrozen = isFrozen;
    if (isFrozen) return;
    const held = this.#held;
    this.#held = [];
    for (const act of held) act();
  }

  get openCount(): number {
    return this.#server?.peers.size ?? 0;
  }

  async start(): Promise<void> {
    this.#isFrozen = false;
    this.#held = [];
    const handlers = createHandlers({ admit: () => this.refusals.shift() });
    handlers.onRequest(echo, async ({ text, repeat }, { peer }) => {
      this.calls.push({ text, peer: peer.id });
      const failure = this.failures.shift();
      if (failure !== undefined) throw failure;
      if (this.delayMs > 0) await this.#clock.sleep(this.delayMs);
      return { text: text.repeat(repeat) };
    });
    handlers.onRequest(operate, async (_input, { peer }) => {
      this.calls.push({ text: "operate", peer: peer.id });
      const failure = this.failures.shift();
      if (failure !== undefined) throw failure;
      if (this.delayMs > 0) await this.#clock.sleep(this.delayMs);
      return {};
    });
    handlers.onRequest(wait, ({ key }, { signal, peer }) => {
      this.calls.push({ text: key, peer: peer.id });
      return new Promise((resolve, reject) => {
        this.waiting.set(key, () => resolve({ key }));
        signal.addEventListener("abort", () => reject(signal.reason));
      });
    });
    this.register(handlers);
    this.#server = await serve({
      clock: this.#clock,
      random: seededRandom(5),
      transport: this.#transport,
      identity: { nodeId: `real-${this.host}`, role: "node" },
      handlers,
      listen: this.host,
      ...this.#options,
    });
  }

  /** Ends every connection at once and stops listening. */
  async kill(): Promise<void> {
    for (const link of this.#links) link.destroy(new Error("killed"));
    this.#links.clear();
    await this.#server?.close({ drainMs: 0 });
  }

  stop(drainMs = 5_000): Promise<void> | undefined {
    return this.#server?.close({ drainMs });
  }

  #act(act: () => void): void {
    if (this.#isFrozen) this.#held.push(act);
    else act();
  }

  #wrap(link: Link): Link {
    this.#links.add(link);
    const node = this;
    return {
      remoteAddress: link.remoteAddress,
      get bufferedBytes() {
        return link.bufferedBytes;
      },
      send(frame) {
        node.#act(() => link.send(frame));
      },
      onDrain: (listener) => link.onDrain(listener),
      onFrame: (listener) =>
        link.onFrame((frame) => {
          node.#act(() => listener(frame));
        }),
      onClose: (listener) => link.onClose(listener),
      close: () => link.close(),
      destroy: (error) => link.destroy(error),
    };
  }
}

/** A cluster of `count` nodes on a virtual clock, and a client of it. */
export const cluster = async (
  count: number,
  options: Partial<ConnectionManagerOptions> = {},
  server: Partial<ServerOptions> = {},
) => {
  const clock = new VirtualClock();
  const network = createMemoryNetwork({ clock });
  const nodes = Array.from(
    { length: count },
    (_, index) => new ClusterNode(`n${index + 1}:7000`, network, clock, server),
  );
  for (const node of nodes) await node.start();
  const client = new ConnectionManager({
    clock,
    random: seededRandom(11),
    transport: network,
    identity: { nodeId: "", role: "client" },
    hosts: nodes.map(({ host }) => host),
    ...options,
  });
  const node = (number: number): ClusterNode => nodes[number - 1] as ClusterNode;
  /** Runs a promise to its end, moving the clock as far as that takes. */
  const settle = async <T>(promise: Promise<T>, limitMs = 600_000): Promise<T> => {
    let isDone = false;
    const done = promise.then(
      () => {
        isDone = true;
      },
      () => {
        isDone = true;
      },
    );
    await clock
      .advanceUntil(() => isDone, limitMs)
      .catch((error: unknown) => {
        if (!isDone) throw error;
      });
    await done;
    return promise;
  };
  const callCounts = (): readonly number[] => nodes.map(({ calls }) => calls.length);
  return { clock, network, nodes, node, client, settle, callCounts };
};
