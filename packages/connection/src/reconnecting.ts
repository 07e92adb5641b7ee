import {
  type Abortable,
  ClosedError,
  childController,
  InvalidInputError,
  TaskGroup,
  untilAborted,
} from "@holdfast/kernel";
import { openPeer } from "./connect.ts";
import type { ReconnectingOptions, ReconnectingPeer } from "./endpoint.ts";
import { ConnectionLostError } from "./errors.ts";
import { type EndpointSettings, settingsOf } from "./link/settings.ts";
import type { WirePeer } from "./link/wire-peer.ts";
import type { Peer } from "./peer.ts";

/** First ceiling of the wait between tries; doubles with each round of addresses. */
const BACKOFF_BASE_MS = 100;
/** Highest ceiling: a node that comes back is found within five seconds, and a thousand clients cost it 400 tries a second. */
const BACKOFF_CAP_MS = 5_000;
/** A connection that ended sooner than this was no better than none: who takes all and drops them is not hurried. */
const STEADY_MS = 1_000;

/**
 * A link that comes back by itself. Starts to connect at once.
 * @throws InvalidInputError when there is no address or an option is wrong.
 */
export const reconnecting = (options: ReconnectingOptions): ReconnectingPeer => new ReconnectingLink(options);

interface Waiter {
  readonly resolve: (peer: Peer) => void;
  readonly reject: (reason: unknown) => void;
}

class ReconnectingLink implements ReconnectingPeer {
  readonly #options: ReconnectingOptions;
  readonly #settings: EndpointSettings;
  readonly #tasks: TaskGroup;
  readonly #waiters = new Set<Waiter>();
  /** Connections that finish what is in flight before they close. */
  readonly #leaving = new Set<Promise<void>>();
  #addresses: readonly string[];
  /** Where the next try goes. */
  #nextIndex = 0;
  /** Set when there are new addresses; ends the wait between two tries, or the use of an address that is gone. */
  #hasNewAddresses = false;
  #onNewAddresses: () => void = () => undefined;
  #current: WirePeer | undefined;
  #lastError: Error | undefined;
  #isClosed = false;

  constructor(options: ReconnectingOptions) {
    this.#options = options;
    this.#settings = settingsOf(options);
    this.#addresses = checked(options.addresses);
    this.#tasks = new TaskGroup({ logger: this.#settings.logger });
    this.#tasks.spawn("keep connected", (signal) => this.#keepConnected(signal));
  }

  get current(): Peer | undefined {
    return this.#current;
  }

  get lastError(): Error | undefined {
    return this.#lastError;
  }

  async peer({ signal }: Abortable = {}): Promise<Peer> {
    signal?.throwIfAborted();
    if (this.#isClosed) throw new ClosedError(this.#name());
    if (this.#current !== undefined) return this.#current;
    let waiter: Waiter | undefined;
    try {
      return await untilAborted(
        new Promise<Peer>((resolve, reject) => {
          waiter = { resolve, reject };
          this.#waiters.add(waiter);
        }),
        signal,
      );
    } finally {
      if (waiter !== undefined) this.#waiters.delete(waiter);
    }
  }

  setAddresses(addresses: readonly string[]): void {
    this.#addresses = checked(addresses);
    this.#nextIndex = 0;
    this.#hasNewAddresses = true;
    this.#onNewAddresses();
  }

  async close(): Promise<void> {
    if (!this.#isClosed) {
      this.#isClosed = true;
      const error = new ClosedError(this.#name());
      for (const waiter of this.#waiters) waiter.reject(error);
    }
    await this.#tasks.stop();
    await Promise.all(this.#leaving);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #keepConnected(signal: AbortSignal): Promise<void> {
    let failureCount = 0;
    /** Connections in a row that did not last. */
    let shortCount = 0;
    while (!signal.aborted) {
      const peer = await this.#tryOnce(signal);
      const readyAt = this.#settings.clock.monotonicNow();
      if (peer !== undefined) await this.#use(peer, signal);
      const wasSteady = this.#settings.clock.monotonicNow() - readyAt >= STEADY_MS;
      if (wasSteady || this.#hasNewAddresses) {
        failureCount = 0;
        shortCount = 0;
      } else {
        failureCount += 1;
        shortCount = peer === undefined ? 0 : shortCount + 1;
        // The one that worked is tried first again, once.
        if (shortCount !== 1) this.#nextIndex = (this.#nextIndex + 1) % this.#addresses.length;
      }
      if (!signal.aborted) await this.#backOff(failureCount, signal);
    }
  }

  async #tryOnce(signal: AbortSignal): Promise<WirePeer | undefined> {
    this.#hasNewAddresses = false;
    const { transport, credential, onConnected } = this.#options;
    const address = this.#addresses[this.#nextIndex] ?? "";
    let peer: WirePeer | undefined;
    try {
      const opened = await openPeer(this.#settings, {
        transport,
        address,
        signal,
        ...(credential === undefined ? {} : { credential }),
      });
      peer = opened;
      await whileOpen(opened, () => onConnected?.(opened), signal);
      return opened;
    } catch (error) {
      peer?.destroy();
      if (signal.aborted) return undefined;
      this.#lastError = error instanceof Error ? error : new Error(String(error));
      this.#settings.logger.debug({ address, err: error }, "no connection yet");
      return undefined;
    }
  }

  /** Hands the peer to everyone until it is gone, or will be, or its address is no longer wanted. */
  async #use(peer: WirePeer, signal: AbortSignal): Promise<void> {
    const { address } = peer.remote;
    const left = childController(signal);
    let error: Error | undefined;
    peer.onClose((reason) => {
      error = reason;
      left.abort();
    });
    peer.onGoodbye(() => left.abort());
    this.#onNewAddresses = () => {
      const index = this.#addresses.indexOf(address);
      if (index < 0) left.abort();
      else this.#nextIndex = index;
    };
    if (this.#hasNewAddresses) this.#onNewAddresses();
    if (!left.signal.aborted) {
      this.#current = peer;
      this.#lastError = undefined;
      for (const waiter of this.#waiters) waiter.resolve(peer);
      this.#waiters.clear();
      await aborted(left.signal);
    }
    this.#onNewAddresses = () => undefined;
    left.dispose();
    this.#current = undefined;
    this.#lastError = error;
    // What is in flight there may finish, while we look for another connection.
    const closing = peer.close().finally(() => this.#leaving.delete(closing));
    this.#leaving.add(closing);
    const failed = (failure: unknown): void =>
      this.#settings.logger.error({ err: failure }, "onDisconnected failed");
    try {
      const told: unknown = this.#options.onDisconnected?.(error);
      if (told instanceof Promise) told.catch(failed);
    } catch (failure) {
      failed(failure);
    }
  }

  /** Full jitter below a ceiling that doubles with each round through the addresses. */
  async #backOff(failureCount: number, signal: AbortSignal): Promise<void> {
    if (this.#hasNewAddresses) return;
    const round = Math.floor(Math.max(0, failureCount - 1) / this.#addresses.length);
    const ceilingMs = Math.min(BACKOFF_CAP_MS, BACKOFF_BASE_MS * 2 ** Math.min(round, 16));
    const cut = childController(signal);
    this.#onNewAddresses = () => cut.abort();
    try {
      await this.#settings.clock.sleep(this.#settings.random.next() * ceilingMs, { signal: cut.signal });
    } catch {
      // Cut short: the loop looks at once what there is to do.
    } finally {
      this.#onNewAddresses = () => undefined;
      cut.dispose();
    }
  }

  #name(): string {
    return `link to ${this.#addresses.join(", ")}`;
  }
}

/** Waits for `body`, but not beyond the end of the connection. @throws what `body` throws; ConnectionLostError; signal.reason. */
const whileOpen = async (
  peer: WirePeer,
  body: () => void | Promise<void>,
  signal: AbortSignal,
): Promise<void> => {
  const open = childController(signal);
  const unsubscribe = peer.onClose((error) => {
    const { address } = peer.remote;
    open.abort(error ?? new ConnectionLostError(address, ConnectionLostError.reasonOf(error)));
  });
  try {
    await untilAborted(Promise.resolve(body()), open.signal);
  } finally {
    unsubscribe();
    open.dispose();
  }
};

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    signal.addEventListener("abort", () => resolve(), { once: true });
  });

const checked = (addresses: readonly string[]): readonly string[] => {
  if (addresses.length > 0) return [...addresses];
  throw new InvalidInputError("addresses", addresses, "a list of at least one host:port");
};
