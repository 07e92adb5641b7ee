import {
  createHandlers,
  type Handlers,
  type Server,
  serve,
  type Transport,
  tcpTransport,
} from "@holdfast/connection";
import { type Clock, newId, systemClock, systemRandom } from "@holdfast/kernel";
import { SCOPES, type Scope } from "@holdfast/protocol/contract";
import { createFaultProxy, type FaultProxy } from "../fault-proxy/fault-proxy.ts";
import { reservePort } from "../process/reserve-port.ts";
import { building, type ResourceStack } from "../process/resource-stack.ts";
import { FaultyLink } from "./faulty-link.ts";
import { type ConnectionFault, FaultQueue, type RequestFault } from "./request-fault.ts";
import { echo, write } from "./test-requests.ts";

export interface TestServerOptions {
  /** Default `node-` and some digits. */
  readonly nodeId?: string;
  /** Default: a free port. It is kept over restarts. */
  readonly port?: number;
  /** Adds requests beside `echo` and `write`. Called anew at each start. */
  readonly register?: (handlers: Handlers) => void;
  /** With tokens, a connection needs one of them. Default: everybody may do everything. */
  readonly tokens?: Readonly<Record<string, TestToken>>;
}

export interface TestToken {
  /** Default: all. */
  readonly scopes?: readonly Scope[];
  /** How long it is good, counted from when it was given to the server, in milliseconds. Default: for ever. */
  readonly ttlMs?: number;
}

export interface RecordedRequest {
  readonly name: string;
  readonly input: unknown;
  /** Counts accepted connections from 1. */
  readonly connectionNumber: number;
  /** What was done to it, if anything. */
  readonly fault: RequestFault["kind"] | undefined;
}

export interface TestServerCounts {
  /** Connections open now, and accepted since the server was made. */
  readonly openConnections: number;
  readonly acceptedConnections: number;
  readonly requests: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
}

/** The last this many requests are kept for assertions. */
const RECORDED_MAX_COUNT = 100_000;

/**
 * A real Holdfast node end on loopback, with a faulty network in front, that can be made to fail in every way a
 * client must survive. All counters and the record go on over restarts.
 */
export class TestServer implements AsyncDisposable {
  readonly nodeId: string;
  /** `127.0.0.1:PORT`. */
  readonly address: string;
  readonly port: number;
  /** What lies between clients and the server: latency, cuts, resets, half-open connections, split and glued bytes. */
  readonly network: FaultProxy;
  readonly #options: TestServerOptions;
  readonly #clock: Clock = systemClock;
  readonly #resources: ResourceStack;
  readonly #innerAddress: string;
  readonly #requestFaults = new FaultQueue<RequestFault>();
  readonly #connectionFaults = new FaultQueue<ConnectionFault>();
  readonly #tokens = new Map<string, { scopes: readonly Scope[]; endsAt: number }>();
  readonly #requests: RecordedRequest[] = [];
  readonly #links = new Set<FaultyLink>();
  #server: Server | undefined;
  #healthy = true;
  #acceptedCount = 0;
  #requestCount = 0;
  #writeCount = 0;
  #bytes = { in: 0, out: 0 };

  constructor(parts: {
    readonly options: TestServerOptions;
    readonly network: FaultProxy;
    readonly innerPort: number;
    readonly resources: ResourceStack;
  }) {
    this.#options = parts.options;
    this.nodeId = parts.options.nodeId ?? newId("node", systemRandom);
    this.network = parts.network;
    this.port = parts.network.port;
    this.address = `127.0.0.1:${this.port}`;
    this.#innerAddress = `127.0.0.1:${parts.innerPort}`;
    this.#resources = parts.resources;
    for (const [token, rights] of Object.entries(parts.options.tokens ?? {})) this.addToken(token, rights);
    this.#resources.defer(() => this.kill());
  }

  get running(): boolean {
    return this.#server !== undefined;
  }

  get counts(): TestServerCounts {
    return {
      openConnections: this.#links.size,
      acceptedConnections: this.#acceptedCount,
      requests: this.#requestCount,
      bytesIn: this.#bytes.in,
      bytesOut: this.#bytes.out,
    };
  }

  /** Every request that arrived, the disturbed ones too; the last 100,000. */
  get requests(): readonly RecordedRequest[] {
    return this.#requests;
  }

  /** How often `write` was carried out. */
  get writeCount(): number {
    return this.#writeCount;
  }

  /** The next requests (of this name, when one is given) are disturbed; after those, the ones ordered later. */
  failNext(count: number, fault: RequestFault, options: { readonly name?: string } = {}): void {
    this.#requestFaults.add(count, fault, options.name);
  }

  /** The next connections are closed at once, or taken and never spoken to. */
  failNextConnections(count: number, fault: ConnectionFault): void {
    this.#connectionFaults.add(count, fault);
  }

  /** While unhealthy, every request is refused with a retryable error. */
  setHealthy(healthy: boolean): void {
    this.#healthy = healthy;
  }

  /** Forgets the faults that were ordered and heals the network. */
  async heal(): Promise<void> {
    this.#healthy = true;
    this.#requestFaults.clear();
    this.#connectionFaults.clear();
    await this.network.heal();
  }

  addToken(token: string, rights: TestToken = {}): void {
    const endsAt = this.#clock.monotonicNow() + (rights.ttlMs ?? Number.POSITIVE_INFINITY);
    this.#tokens.set(token, { scopes: rights.scopes ?? SCOPES, endsAt });
  }

  revokeToken(token: string): void {
    this.#tokens.delete(token);
  }

  /** Accepts connections and answers nothing, neither on them nor on the open ones. */
  freeze(): void {
    this.network.set({ cut: true });
  }

  /** Goes on where it was frozen; what was sent meanwhile arrives now. */
  thaw(): void {
    this.network.set({ cut: false });
  }

  /** Tells clients to go elsewhere, finishes what runs, closes. The port refuses connections then. */
  async stop(options: { readonly drainMs?: number } = {}): Promise<void> {
    await this.network.refuse();
    const server = this.#server;
    this.#server = undefined;
    await server?.close({ drainMs: options.drainMs ?? 5_000 });
  }

  /** Resets every connection and refuses new ones, as when the process died. */
  async kill(): Promise<void> {
    await this.network.refuse();
    this.network.reset();
    const server = this.#server;
    this.#server = undefined;
    for (const link of [...this.#links]) link.destroy();
    await server?.close({ drainMs: 0 });
  }

  /** Starts again after `stop` or `kill`, on the same port. */
  async start(): Promise<void> {
    if (this.#server) return;
    const tcp = tcpTransport({ clock: this.#clock });
    this.#server = await serve({
      clock: this.#clock,
      random: systemRandom,
      transport: this.#disturbed(tcp),
      identity: { nodeId: this.nodeId, role: "test", address: this.address },
      handlers: this.#handlers(),
      listen: this.#innerAddress,
      ...(this.#options.tokens === undefined
        ? {}
        : { authenticate: (credential) => this.#scopesOf(credential?.token) }),
    });
    await this.network.heal();
  }

  async restart(): Promise<void> {
    await this.stop({ drainMs: 0 });
    await this.start();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources[Symbol.asyncDispose]();
  }

  #handlers(): Handlers {
    const handlers = createHandlers();
    handlers.onRequest(echo, async ({ value }, { peer }) => ({
      value,
      nodeId: this.nodeId,
      connectionId: peer.id,
    }));
    handlers.onRequest(write, async (_, { peer }) => {
      this.#writeCount += 1;
      return { count: this.#writeCount, nodeId: this.nodeId, connectionId: peer.id };
    });
    this.#options.register?.(handlers);
    return handlers;
  }

  #scopesOf(token: string | undefined): readonly Scope[] | undefined {
    const rights = token === undefined ? undefined : this.#tokens.get(token);
    return rights && this.#clock.monotonicNow() < rights.endsAt ? rights.scopes : undefined;
  }

  #disturbed(transport: Transport): Transport {
    return {
      kind: transport.kind,
      dial: (address, options) => transport.dial(address, options),
      listen: (address, onLink) =>
        transport.listen(address, (inner) => {
          this.#acceptedCount += 1;
          const connectionNumber = this.#acceptedCount;
          const link = new FaultyLink(inner, {
            clock: this.#clock,
            onRequest: (name, input) => this.#record({ name, input, connectionNumber }),
            onBytes: (direction, byteCount) => {
              this.#bytes[direction] += byteCount;
            },
            onClose: () => this.#links.delete(link),
          });
          this.#links.add(link);
          const fault = this.#connectionFaults.take();
          if (fault === undefined) {
            onLink(link);
            return;
          }
          // Read, so that the end of the other side is noticed.
          link.onFrame(() => undefined);
          link.onClose(() => undefined);
          if (fault === "reset") link.destroy();
        }),
    };
  }

  #record(request: Omit<RecordedRequest, "fault">): RequestFault | undefined {
    const fault =
      this.#requestFaults.take(request.name) ?? (this.#healthy ? undefined : { kind: "error" as const });
    this.#requestCount += 1;
    this.#requests.push({ ...request, fault: fault?.kind });
    if (this.#requests.length > RECORDED_MAX_COUNT) this.#requests.shift();
    return fault;
  }
}

/**
 * Starts a {@link TestServer}, which answers {@link echo} and {@link write} and what `register` adds.
 *
 * ```ts
 * await using server = await startTestServer();
 * server.failNext(2, { kind: "error", retryAfterMs: 50 });
 * ```
 */
export const startTestServer = (options: TestServerOptions = {}): Promise<TestServer> =>
  building(async (resources) => {
    const innerPort = resources.use(await reservePort()).port;
    const target = { port: innerPort };
    const network = await createFaultProxy(
      options.port === undefined ? { target } : { target, port: options.port },
    );
    resources.use(network);
    const server = new TestServer({ options, network, innerPort, resources });
    await server.start();
    return server;
  });
