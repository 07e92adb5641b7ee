import { connect, createServer, type Server, type Socket } from "node:net";
import { type Clock, type Random, systemClock, systemRandom } from "@holdfast/kernel";
import { type PortReservation, reservePort } from "../process/reserve-port.ts";
import { checkFaults, type Faults, NO_FAULTS } from "./faults.ts";
import { type Direction, Link } from "./link.ts";

export interface FaultProxyOptions {
  /** Where connections lead. The host defaults to 127.0.0.1. */
  readonly target: { readonly host?: string; readonly port: number };
  /** Where the proxy listens, on 127.0.0.1. Default: a free port. */
  readonly port?: number;
  /** Chance of the jitter; give a seeded one to replay a run. */
  readonly random?: Random;
  readonly clock?: Clock;
}

/**
 * A TCP connection that can be made to fail in chosen ways while it is in use, in front of any server: one's own,
 * PostgreSQL, Redis. It passes bytes and knows no protocol. Faults act on open connections at once.
 */
export interface FaultProxy extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  /** Connections accepted so far. */
  readonly acceptedCount: number;
  /** Connections open now, half-open ones included. */
  readonly openCount: number;
  /** Bytes let through so far. */
  readonly passedBytes: Readonly<Record<Direction, number>>;
  /** Changes some faults and leaves the others as they are. @param direction Default both. */
  set(faults: Partial<Faults>, direction?: Direction): void;
  /** Ends all faults, accepts again, and lets through what a cut held back. Half-open connections stay so. */
  heal(): Promise<void>;
  /** Refuses new connections; open ones go on. */
  refuse(): Promise<void>;
  /** Resets every open connection on both ends (RST). */
  reset(): void;
  /** Every open connection loses its other end without a word; the surviving end is told nothing. Default the client's. */
  halfOpen(survivor?: "client" | "target"): void;
  /** Resets the connection that carries the given further byte, right after it: in the middle of a frame, say. */
  resetAfter(byteCount: number, direction: Direction): void;
}

class TcpFaultProxy implements FaultProxy {
  readonly host = "127.0.0.1";
  readonly port: number;
  readonly passedBytes: Record<Direction, number> = { toTarget: 0, toClient: 0 };
  readonly #options: FaultProxyOptions;
  readonly #reservation: PortReservation | undefined;
  readonly #links = new Set<Link>();
  readonly #faults: Record<Direction, Faults> = { toTarget: NO_FAULTS, toClient: NO_FAULTS };
  readonly #resetAt: Record<Direction, number> = {
    toTarget: Number.POSITIVE_INFINITY,
    toClient: Number.POSITIVE_INFINITY,
  };
  #server: Server | undefined;
  #acceptedCount = 0;

  constructor(options: FaultProxyOptions, port: number, reservation: PortReservation | undefined) {
    this.#options = options;
    this.port = port;
    this.#reservation = reservation;
  }

  get acceptedCount(): number {
    return this.#acceptedCount;
  }

  get openCount(): number {
    return this.#links.size;
  }

  set(faults: Partial<Faults>, direction?: Direction): void {
    checkFaults(faults);
    const directions: readonly Direction[] = direction ? [direction] : ["toTarget", "toClient"];
    for (const each of directions) this.#faults[each] = { ...this.#faults[each], ...faults };
    this.#pump();
  }

  async heal(): Promise<void> {
    this.#faults.toTarget = NO_FAULTS;
    this.#faults.toClient = NO_FAULTS;
    this.#resetAt.toTarget = Number.POSITIVE_INFINITY;
    this.#resetAt.toClient = Number.POSITIVE_INFINITY;
    this.#pump();
    await this.listen();
  }

  async refuse(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    // The listening socket is closed at once; the callback would wait for the open connections too.
    server?.close();
  }

  reset(): void {
    for (const link of [...this.#links]) link.reset();
  }

  halfOpen(survivor: "client" | "target" = "client"): void {
    for (const link of this.#links) link.halfOpen(survivor);
  }

  resetAfter(byteCount: number, direction: Direction): void {
    this.#resetAt[direction] = this.passedBytes[direction] + byteCount;
  }

  async listen(): Promise<void> {
    if (this.#server) return;
    const server = createServer({ allowHalfOpen: true }, (client) => this.#accept(client));
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen({ host: this.host, port: this.port }, resolve);
    });
    this.#server = server;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.refuse();
    this.reset();
    this.#reservation?.[Symbol.dispose]();
  }

  #accept(client: Socket): void {
    this.#acceptedCount += 1;
    const { host = "127.0.0.1", port } = this.#options.target;
    const target = connect({ host, port, allowHalfOpen: true });
    const link: Link = new Link({
      client,
      target,
      clock: this.#options.clock ?? systemClock,
      random: this.#options.random ?? systemRandom,
      faults: (direction) => this.#faults[direction],
      bytesUntilReset: (direction) => this.#resetAt[direction] - this.passedBytes[direction],
      onPassed: (direction, byteCount) => this.#passed(link, direction, byteCount),
      onClosed: () => this.#links.delete(link),
    });
    this.#links.add(link);
  }

  #passed(link: Link, direction: Direction, byteCount: number): void {
    this.passedBytes[direction] += byteCount;
    if (this.passedBytes[direction] < this.#resetAt[direction]) return;
    this.#resetAt[direction] = Number.POSITIVE_INFINITY;
    link.reset();
  }

  #pump(): void {
    for (const link of [...this.#links]) link.pump();
  }
}

/**
 * Starts a {@link FaultProxy}. Nothing is wrong with it until it is told so.
 *
 * ```ts
 * await using proxy = await createFaultProxy({ target: { port: postgres.port } });
 * proxy.set({ latencyMs: 50, jitterMs: 20 });
 * proxy.set({ cut: true }, "toClient"); // requests arrive, answers do not
 * await proxy.heal();
 * ```
 */
export const createFaultProxy = async (options: FaultProxyOptions): Promise<FaultProxy> => {
  const reservation = options.port === undefined ? await reservePort() : undefined;
  const proxy = new TcpFaultProxy(options, options.port ?? reservation?.port ?? 0, reservation);
  await proxy.listen();
  return proxy;
};
