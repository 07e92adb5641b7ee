import { connect, type Handlers, type Peer } from "@holdfast/connection";
import { type Abortable, ClosedError, untilAborted } from "@holdfast/kernel";
import type { CallerOptions } from "./caller-options.ts";

export type NodeLinksOptions = Pick<
  CallerOptions,
  "transport" | "credential" | "identity" | "clock" | "random" | "logger" | "heartbeatMs"
>;

/** Most connections at once; beyond it the one opened first is closed. Redirects name only nodes of the cluster. */
const LINKS_MAX_COUNT = 256;

/** One connection per node, opened when it is first asked and again after it broke. Callers share it. */
export class NodeLinks {
  readonly #options: NodeLinksOptions;
  readonly #handlers: Handlers;
  readonly #onLost: (address: string) => void;
  readonly #open = new Map<string, Peer>();
  readonly #opening = new Map<string, Promise<Peer>>();
  readonly #controller = new AbortController();

  /** @param onLost Hears of a connection that ended without our doing: its node goes, hangs or cannot be reached. */
  constructor(
    options: NodeLinksOptions,
    handlers: Handlers,
    onLost: (address: string) => void = () => undefined,
  ) {
    this.#options = options;
    this.#handlers = handlers;
    this.#onLost = onLost;
  }

  isOpen(address: string): boolean {
    return this.#open.get(address)?.isOpen ?? false;
  }

  /**
   * The ready connection to `address`. An abort ends the waiting, not the dialling that others may wait for.
   * @throws ConnectionRefusedError and the like when it cannot be opened; ClosedError after `close`.
   */
  async get(address: string, options: Abortable = {}): Promise<Peer> {
    if (this.#controller.signal.aborted) throw new ClosedError("the jobs client");
    options.signal?.throwIfAborted();
    const ready = this.#open.get(address);
    if (ready?.isOpen) return ready;
    let opening = this.#opening.get(address);
    if (opening === undefined) {
      opening = this.#dial(address).finally(() => this.#opening.delete(address));
      this.#opening.set(address, opening);
      opening.catch(() => undefined);
    }
    return untilAborted(opening, options.signal);
  }

  async close(): Promise<void> {
    if (!this.#controller.signal.aborted) this.#controller.abort(new ClosedError("the jobs client"));
    await Promise.allSettled([...this.#opening.values()]);
    const peers = [...this.#open.values()];
    this.#open.clear();
    await Promise.all(peers.map((peer) => peer.close()));
  }

  async #dial(address: string): Promise<Peer> {
    const { transport, credential, clock, random, logger, identity, heartbeatMs } = this.#options;
    const peer = await connect({
      address,
      transport,
      clock,
      random,
      logger,
      handlers: this.#handlers,
      identity,
      heartbeatMs,
      signal: this.#controller.signal,
      ...(credential === undefined ? {} : { credential }),
    });
    if (this.#controller.signal.aborted) {
      await peer.close();
      throw new ClosedError("the jobs client");
    }
    this.#open.set(address, peer);
    peer.onClose(() => {
      if (this.#open.get(address) !== peer) return;
      this.#open.delete(address);
      this.#onLost(address);
    });
    for (const [oldest, link] of this.#open) {
      if (this.#open.size <= LINKS_MAX_COUNT) break;
      this.#open.delete(oldest);
      link.close().catch(() => undefined);
    }
    return peer;
  }
}
