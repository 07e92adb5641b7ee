import {
  type Credential,
  type Handlers,
  type Peer,
  type ReconnectingPeer,
  reconnecting,
  type Transport,
} from "@holdfast/connection";
import {
  type Abortable,
  type Clock,
  type Deferred,
  deferred,
  type Logger,
  type Random,
  untilAborted,
} from "@holdfast/kernel";
import { type Leader, registerWorker, type WorkerRegistration } from "@holdfast/protocol/contract";

/** A manager that knows this worker: connected and registered. */
export interface ReadyManager {
  readonly nodeId: string;
  readonly address: string;
  readonly peer: Peer;
}

export interface ManagerLinksOptions {
  readonly nodeId: string;
  readonly addresses: readonly string[];
  readonly transport: Transport;
  readonly credential: Credential | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly handlers: Handlers;
  /** What to say of ourselves, now. */
  readonly registration: () => WorkerRegistration;
  readonly onReady: (manager: ReadyManager) => void;
}

/** What managers want of their workers. Where they differ the most careful one counts. */
export interface Cadence {
  readonly taskLeaseMs: number;
  readonly progressEveryMs: number;
}

/** Far more managers than a datacenter has; a manager that names more than this is wrong. */
const LINKS_MAX_COUNT = 64;
/** Twice this is less than the lease of a claim: a manager that hangs is left before claims that it should renew lapse. */
const HEARTBEAT_MS = 2_000;
/** Well under the silence after which a manager gives a worker up (15 s), with room for two lost ones. */
const REGISTER_EVERY_MS = 4_000;

interface Link {
  readonly address: string;
  /** From the worker's own options: never given up. */
  readonly configured: boolean;
  connection: ReconnectingPeer | undefined;
  nodeId: string | undefined;
  peer: Peer | undefined;
  cadence: Cadence | undefined;
}

/**
 * The worker's connections: one to each manager of its datacenter, reconnecting by itself. It starts with the
 * addresses it was given and learns the others from the managers' answers. The worker registers on every new
 * connection and again every 4 s, so that an idle worker is not taken for a lost one.
 */
export class ManagerLinks {
  readonly #options: ManagerLinksOptions;
  readonly #links = new Map<string, Link>();
  #changed: Deferred<void> = deferred();
  #nextIndex: number;
  #isClosed = false;

  constructor(options: ManagerLinksOptions) {
    this.#options = options;
    // Workers that start together spread over the managers.
    this.#nextIndex = Math.floor(options.random.next() * Math.max(1, options.addresses.length));
  }

  open(): void {
    for (const address of this.#options.addresses) this.#add(address, true);
  }

  get ready(): readonly ReadyManager[] {
    const managers: ReadyManager[] = [];
    for (const { address, nodeId, peer } of this.#links.values()) {
      if (nodeId !== undefined && peer?.isOpen) managers.push({ nodeId, address, peer });
    }
    return managers;
  }

  /** Undefined until the first manager has answered. */
  get cadence(): Cadence | undefined {
    const cadences = [...this.#links.values()].flatMap(({ cadence }) => cadence ?? []);
    if (cadences.length === 0) return undefined;
    return {
      taskLeaseMs: Math.min(...cadences.map(({ taskLeaseMs }) => taskLeaseMs)),
      progressEveryMs: Math.max(...cadences.map(({ progressEveryMs }) => progressEveryMs)),
    };
  }

  /** The next ready manager in turn, another than `avoid` where there is one. */
  next(avoid?: string): ReadyManager | undefined {
    const ready = this.ready;
    const others = ready.filter(({ nodeId }) => nodeId !== avoid);
    const choice = others.length > 0 ? others : ready;
    this.#nextIndex += 1;
    return choice[this.#nextIndex % Math.max(1, choice.length)];
  }

  /** The leader's own connection; starts one when its address is new. Undefined until it is ready. */
  of(leader: Pick<Leader, "nodeId" | "address">): ReadyManager | undefined {
    const found = this.ready.find(({ nodeId }) => nodeId === leader.nodeId);
    if (found === undefined && leader.address !== "") this.#add(leader.address, false);
    return found;
  }

  /** Resolves when the set of ready managers changes. @throws signal.reason when aborted. */
  whenChanged({ signal }: Abortable): Promise<void> {
    return untilAborted(this.#changed.promise, signal);
  }

  /** Tells every connected manager our state now. One that cannot be told learns it with the next registration. */
  async register(options: Abortable = {}): Promise<void> {
    await Promise.all(
      [...this.#links.values()].map(async (link) => {
        const { peer } = link;
        if (peer === undefined) return;
        try {
          await this.#register(link, peer, options.signal);
        } catch (error) {
          if (options.signal?.aborted) return;
          this.#options.logger.debug({ err: error, manager: link.address }, "registration was not repeated");
        }
      }),
    );
  }

  /** Registers again and again until aborted. */
  async keepRegistered(signal: AbortSignal): Promise<void> {
    for (;;) {
      await this.#options.clock.sleep(REGISTER_EVERY_MS, { signal });
      await this.register({ signal });
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const links = [...this.#links.values()];
    this.#links.clear();
    await Promise.all(links.map(({ connection }) => connection?.close()));
  }

  #add(address: string, configured: boolean): void {
    if (this.#isClosed || this.#links.has(address) || this.#links.size >= LINKS_MAX_COUNT) return;
    const link: Link = {
      address,
      configured,
      connection: undefined,
      nodeId: undefined,
      peer: undefined,
      cadence: undefined,
    };
    this.#links.set(address, link);
    const { nodeId, transport, credential, clock, random, logger, handlers } = this.#options;
    link.connection = reconnecting({
      addresses: [address],
      transport,
      clock,
      random,
      logger,
      handlers,
      identity: { nodeId, role: "worker" },
      heartbeatMs: HEARTBEAT_MS,
      ...(credential === undefined ? {} : { credential }),
      onConnected: (peer) => this.#register(link, peer),
      onDisconnected: () => {
        link.peer = undefined;
        this.#wake();
      },
    });
  }

  async #register(link: Link, peer: Peer, signal?: AbortSignal): Promise<void> {
    const answer = await peer.request(
      registerWorker,
      this.#options.registration(),
      signal === undefined ? {} : { signal },
    );
    if (this.#links.get(link.address) !== link) return;
    link.nodeId = answer.managerId;
    link.cadence = { taskLeaseMs: answer.taskLeaseMs, progressEveryMs: answer.progressEveryMs };
    const isNew = link.peer !== peer;
    link.peer = peer;
    this.#learn(link, answer.managers);
    if (!isNew || this.#links.get(link.address) !== link) return;
    this.#options.logger.info(
      { manager: answer.managerId, address: link.address },
      "registered with manager",
    );
    this.#wake();
    this.#options.onReady({ nodeId: answer.managerId, address: link.address, peer });
  }

  /** Takes up managers that were named, gives up learnt ones that are neither named any more nor connected. */
  #learn(from: Link, managers: readonly { readonly nodeId: string; readonly address: string }[]): void {
    const named = new Set(managers.map(({ address }) => address));
    for (const link of this.#links.values()) {
      const isDouble = link !== from && link.nodeId === from.nodeId && !link.configured;
      const isGone = !link.configured && link.peer === undefined && !named.has(link.address);
      if (isDouble || isGone) this.#drop(link);
    }
    const known = new Set([...this.#links.values()].map(({ nodeId }) => nodeId));
    for (const { nodeId, address } of managers) {
      if (address !== "" && !known.has(nodeId)) this.#add(address, false);
    }
  }

  #drop(link: Link): void {
    this.#links.delete(link.address);
    link.connection?.close().catch(() => undefined);
  }

  #wake(): void {
    const { resolve } = this.#changed;
    this.#changed = deferred();
    resolve();
  }
}
