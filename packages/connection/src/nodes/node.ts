import { type Abortable, untilAborted, withTimeout } from "@holdfast/kernel";
import { openPeer } from "../connect.ts";
import type { Credential } from "../endpoint.ts";
import { ConnectionDrainingError } from "../errors.ts";
import type { WirePeer } from "../link/wire-peer.ts";
import { Pool } from "../pool/pool.ts";
import type { PoolLease } from "../pool/pool-lease.ts";
import type { CloseReason } from "../pool/pool-stats.ts";
import type { ManagerSettings } from "./manager-options.ts";
import { NodeHealth } from "./node-health.ts";
import type { Candidate } from "./node-picker.ts";
import type { SharedPermits } from "./shared-permits.ts";

/** One connection that several requests use at once. */
export interface SharedConnection {
  readonly peer: WirePeer;
  readonly lease: PoolLease<WirePeer>;
  readonly since: number;
  userCount: number;
  /** Its loss was counted against the node: all that was in flight on it is one failure. */
  isBlamed: boolean;
  /** A request timed out on it: nothing new is sent over it, and it is closed when the others are answered. */
  isSuspect: boolean;
}

/** A shared connection on its way, and how many wait for it. */
interface Opening {
  readonly promise: Promise<SharedConnection>;
  userCount: number;
  opened: SharedConnection | undefined;
}

export interface NodeObserver {
  onOpened(node: Node, connectionId: number): void;
  onClosed(node: Node, connectionId: number, reason: CloseReason): void;
  onGoodbye(node: Node): void;
}

/** A shared connection that is never out of use is exchanged after this long, so that its lifetime can end. */
const SHARED_MAX_MS = 60_000;
/**
 * How far a node is, is the least of its last pings: what makes a ping slow without being distance (a busy event loop
 * at either end) only ever adds. With an average, one bad moment while connecting would keep a near node out.
 */
const ROUND_TRIPS_COUNT = 5;
/** Pings of a new connection: enough that one bad moment does not decide. */
const FIRST_PINGS_COUNT = 3;
const MEASURE_EVERY_MS = 10_000;

/** One server address: its connections, its health, and what the picker looks at. */
export class Node implements Candidate {
  readonly nodeId: number;
  readonly host: string;
  /** Named by the configuration; announcements never remove it. */
  readonly isGiven: boolean;
  readonly health: NodeHealth;
  readonly pool: Pool<WirePeer>;
  inFlightCount = 0;
  /** Requests sent to it so far. */
  requestCount = 0;
  lastPickedOrder = 0;
  /** What the node calls itself. */
  announcedId: string | undefined;
  readonly #settings: ManagerSettings;
  readonly #leavePermits: () => void;
  /** The last pings, newest last. */
  #roundTrips: readonly number[] = [];
  #measuredAt = Number.NEGATIVE_INFINITY;
  /** What was shown on each connection last, and the renewals under way. */
  readonly #credentials = new WeakMap<WirePeer, Credential>();
  readonly #logins = new WeakMap<WirePeer, Promise<void>>();
  #shared: SharedConnection | undefined;
  #opening: Opening | undefined;

  constructor(
    identity: { readonly nodeId: number; readonly host: string; readonly isGiven: boolean },
    settings: ManagerSettings,
    permits: SharedPermits,
    observer: NodeObserver,
  ) {
    this.nodeId = identity.nodeId;
    this.host = identity.host;
    this.isGiven = identity.isGiven;
    this.#settings = settings;
    const { clock } = settings.endpoint;
    this.health = new NodeHealth(clock, settings.health);
    const membership = permits.join({
      wake: () => this.pool.wake(),
      giveUpIdle: () => this.pool.giveUpIdle(),
    });
    this.#leavePermits = () => membership.leave();
    this.pool = new Pool<WirePeer>({
      ...settings.pool,
      minCount: 0,
      name: `node ${this.nodeId} at ${this.host}`,
      clock,
      random: settings.endpoint.random,
      logger: settings.logger,
      permits: membership.permits,
      // The connection and its first ping each have their own limit below.
      createTimeoutMs: 2 * settings.connectTimeoutMs,
      create: ({ signal, onBroken }) => this.#open(signal, onBroken, () => observer.onGoodbye(this)),
      destroy: (peer) => peer.close(),
      validate: async (peer) => {
        this.#measured(await peer.ping());
        return peer.isOpen && !peer.isDraining;
      },
    });
    this.pool.events.on("opened", ({ id }) => observer.onOpened(this, id));
    this.pool.events.on("closed", ({ id, reason }) => observer.onClosed(this, id, reason));
  }

  /** Undefined while it was not measured. */
  get roundTripMs(): number | undefined {
    return this.#roundTrips.length === 0 ? undefined : Math.min(...this.#roundTrips);
  }

  /**
   * Takes part in a connection that others use too; call `leave` with it exactly once.
   * @throws what opening a connection throws; PoolExhaustedError; signal.reason.
   */
  async enter({ signal }: Abortable): Promise<SharedConnection> {
    const shared = this.#shared;
    if (shared !== undefined && this.#isUsable(shared)) {
      shared.userCount += 1;
      return shared;
    }
    this.#opening ??= this.#share();
    const opening = this.#opening;
    opening.userCount += 1;
    try {
      return await untilAborted(opening.promise, signal);
    } catch (error) {
      // Who gives up at the very moment when the connection is there was counted as its user.
      if (opening.opened !== undefined) this.leave(opening.opened);
      else opening.userCount -= 1;
      throw error;
    }
  }

  leave(shared: SharedConnection): void {
    shared.userCount -= 1;
    if (shared.userCount > 0) return;
    if (this.#shared === shared) this.#shared = undefined;
    if (shared.peer.isOpen && !shared.peer.isDraining && !shared.isSuspect) shared.lease.release();
    else shared.lease.destroy();
  }

  /** A request timed out on this connection: it may be dead without anyone knowing, so others take another one. */
  suspect(shared: SharedConnection): void {
    shared.isSuspect = true;
    if (this.#shared === shared) this.#shared = undefined;
  }

  /** Measures the way to the node again, now and then, beside the requests of an open connection. */
  measureNowAndThen(peer: WirePeer): void {
    if (this.#settings.endpoint.clock.monotonicNow() - this.#measuredAt < MEASURE_EVERY_MS) return;
    this.#measuredAt = this.#settings.endpoint.clock.monotonicNow();
    // A ping that fails says nothing that the requests do not say too.
    peer.ping().then(
      (elapsedMs) => this.#measured(elapsedMs),
      () => undefined,
    );
  }

  /**
   * Pings over a connection of its own or a shared one, and keeps the time. One that does not answer is destroyed, unless
   * `asker` aborted: then nothing was learnt of it, and others may use it. @throws what `enter` and `ping` throw.
   */
  async check(options: Abortable & { readonly timeoutMs: number }, asker?: AbortSignal): Promise<void> {
    const shared = await this.enter(options);
    try {
      this.#measured(await shared.peer.ping(options));
    } catch (error) {
      if (asker?.aborted !== true) shared.peer.destroy(error instanceof Error ? error : undefined);
      throw error;
    } finally {
      this.leave(shared);
    }
  }

  /** Shows a renewed credential on one connection, once for all who find that the old one expired. */
  reauthenticate(peer: WirePeer, { signal }: Abortable): Promise<void> {
    let login = this.#logins.get(peer);
    if (login === undefined) {
      login = this.#login(peer).finally(() => this.#logins.delete(peer));
      this.#logins.set(peer, login);
    }
    return untilAborted(login, signal);
  }

  async close(options: { readonly drainMs: number }): Promise<void> {
    await this.pool.close(options);
    this.#leavePermits();
  }

  #isUsable(shared: SharedConnection): boolean {
    const age = this.#settings.endpoint.clock.monotonicNow() - shared.since;
    return shared.peer.isOpen && !shared.peer.isDraining && age < SHARED_MAX_MS;
  }

  #share(): Opening {
    const acquire = async (): Promise<SharedConnection> => {
      try {
        // Longer than one connecting takes, so that its own error is what is reported.
        const { connectTimeoutMs, pool } = this.#settings;
        const lease = await this.pool.acquire({ timeoutMs: connectTimeoutMs + pool.acquireTimeoutMs });
        const since = this.#settings.endpoint.clock.monotonicNow();
        // One user more than there are, who leaves at once: when all the others are gone that gives it back.
        const shared = {
          lease,
          peer: lease.resource,
          since,
          userCount: opening.userCount + 1,
          isBlamed: false,
          isSuspect: false,
        };
        opening.opened = shared;
        this.#shared = shared;
        this.leave(shared);
        return shared;
      } finally {
        this.#opening = undefined;
      }
    };
    const opening: Opening = { promise: acquire(), userCount: 0, opened: undefined };
    return opening;
  }

  async #login(peer: WirePeer): Promise<void> {
    const { connectTimeoutMs, endpoint, tokens } = this.#settings;
    const limit = { operation: `authenticating at ${this.host}`, timeoutMs: connectTimeoutMs };
    await withTimeout(endpoint.clock, limit, async (signal) => {
      const credential = await tokens.renew(this.#credentials.get(peer), { signal });
      await peer.authenticate(credential, { signal });
      this.#credentials.set(peer, credential);
    });
  }

  async #open(
    signal: AbortSignal,
    onBroken: (error?: Error) => void,
    onGoodbye: () => void,
  ): Promise<WirePeer> {
    const { connectTimeoutMs, endpoint, tokens, transport } = this.#settings;
    const credential = await tokens.credential({ signal });
    const peer = await openPeer(endpoint, {
      transport,
      address: this.host,
      signal,
      timeoutMs: connectTimeoutMs,
      ...(credential === undefined ? {} : { credential }),
    });
    if (credential !== undefined) this.#credentials.set(peer, credential);
    peer.onClose(onBroken);
    let isLeaving = false;
    peer.onGoodbye(() => {
      isLeaving = true;
      onBroken();
      onGoodbye();
    });
    try {
      // Proves that messages pass in both directions, and tells how far the node is.
      for (let count = 0; count < FIRST_PINGS_COUNT; count += 1) {
        this.#measured(await peer.ping({ signal, timeoutMs: connectTimeoutMs }));
      }
    } catch (error) {
      peer.destroy();
      if (!isLeaving) throw error;
    }
    if (isLeaving) {
      // Whoever waits should ask another node at once, not open one connection after the other here.
      peer.destroy();
      throw new ConnectionDrainingError(this.host);
    }
    this.announcedId = peer.remote.nodeId;
    return peer;
  }

  #measured(elapsedMs: number): void {
    this.#roundTrips = [...this.#roundTrips, elapsedMs].slice(-ROUND_TRIPS_COUNT);
    this.#measuredAt = this.#settings.endpoint.clock.monotonicNow();
  }
}
