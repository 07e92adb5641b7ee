import {
  AddressInUseError,
  ConnectionLostError,
  ConnectionRefusedError,
  ConnectionTimeoutError,
  type Link,
  type Listener,
  type Transport,
} from "@holdfast/connection";
import { type Abortable, type Clock, type Random, sleepOn } from "@holdfast/kernel";

/** How frames fare on every path between two hosts. */
export interface NetworkFaults {
  /** One-way delay, uniform between the two, milliseconds. Different delays reorder frames of one link. */
  readonly delayMinMs: number;
  readonly delayMaxMs: number;
  /** Chance that a frame is lost without a word. */
  readonly dropRate: number;
  /** Chance that a frame arrives twice, the second time after a delay of its own. */
  readonly duplicateRate: number;
}

export const calmNetwork: NetworkFaults = { delayMinMs: 0.2, delayMaxMs: 0.5, dropRate: 0, duplicateRate: 0 };

/** How long a dialler waits for a host that nothing reaches. */
const DIAL_TIMEOUT_MS = 5_000;
const FREE_PORTS_START = 40_000;

interface Host {
  readonly name: string;
  readonly listeners: Map<string, (link: Link) => void>;
  readonly links: Set<SimulatedLink>;
}

/**
 * A network of named hosts inside one process, on a virtual clock, faulty from a seed: frames are delayed,
 * lost, repeated and overtaken; hosts are cut off and die. Addresses are `host:port`. The same seed and the
 * same calls give the same run.
 */
export class SimulatedNetwork {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #hosts = new Map<string, Host>();
  readonly #cuts = new Set<string>();
  #faults: NetworkFaults;
  #nextPort = FREE_PORTS_START;
  /** Frames that reached the other side, for reports. */
  deliveredCount = 0;

  constructor(options: { readonly clock: Clock; readonly random: Random; readonly faults?: NetworkFaults }) {
    this.#clock = options.clock;
    this.#random = options.random;
    this.#faults = options.faults ?? calmNetwork;
  }

  /** Changes how frames sent from now on fare. */
  setFaults(faults: NetworkFaults): void {
    this.#faults = faults;
  }

  /** Nothing passes between the two hosts until `heal`: frames on the way are lost, links stay open and silent. */
  cut(a: string, b: string): void {
    this.#cuts.add(pair(a, b));
  }

  heal(a: string, b: string): void {
    this.#cuts.delete(pair(a, b));
  }

  /** The host's process dies: its links break, its ports close. It may come back under the same name. */
  kill(name: string): void {
    const host = this.#hosts.get(name);
    if (host === undefined) return;
    host.listeners.clear();
    for (const link of [...host.links]) link.die();
  }

  /** The network as this host sees it. */
  transport(hostName: string): Transport {
    const host = this.#host(hostName);
    return {
      kind: "simulated",
      dial: (address, options) => this.#dial(host, address, options),
      listen: (address, onLink) => this.#listen(host, address, onLink),
    };
  }

  async #dial(host: Host, address: string, options: Abortable = {}): Promise<Link> {
    const target = this.#host(address.slice(0, address.lastIndexOf(":")));
    if (this.#isCut(host.name, target.name)) {
      await sleepOn(this.#clock, DIAL_TIMEOUT_MS, options);
      throw new ConnectionTimeoutError(address, DIAL_TIMEOUT_MS);
    }
    await sleepOn(this.#clock, 2 * this.#delayMs(), options);
    const accept = target.listeners.get(address);
    if (accept === undefined || this.#isCut(host.name, target.name))
      throw new ConnectionRefusedError(address);
    const carry = (from: string, to: string) => (deliver: () => void, control: boolean) =>
      this.#carry(from, to, deliver, control);
    const near = new SimulatedLink(host, address, carry(host.name, target.name));
    const far = new SimulatedLink(target, `${host.name}:0`, carry(target.name, host.name));
    near.join(far);
    far.join(near);
    accept(far);
    return near;
  }

  async #listen(host: Host, address: string, onLink: (link: Link) => void): Promise<Listener> {
    const port = Number(address.slice(address.lastIndexOf(":") + 1));
    const name = port === 0 ? `${host.name}:${this.#nextPort++}` : address;
    if (host.listeners.has(name)) throw new AddressInUseError(name);
    host.listeners.set(name, onLink);
    const close = async (): Promise<void> => {
      if (host.listeners.get(name) === onLink) host.listeners.delete(name);
    };
    return { address: name, close, [Symbol.asyncDispose]: close };
  }

  /** Lets one frame travel. The notice of a closed connection (`control`) is delayed but neither lost nor repeated. */
  #carry(from: string, to: string, deliver: () => void, control: boolean): void {
    const arrive = (): void => {
      if (this.#isCut(from, to)) return;
      this.deliveredCount += 1;
      deliver();
    };
    if (control) {
      // As with TCP, the end of a connection is seen after everything that was sent before it.
      this.#clock.schedule(this.#faults.delayMaxMs, arrive);
      return;
    }
    if (this.#isCut(from, to) || this.#random.next() < this.#faults.dropRate) return;
    this.#clock.schedule(this.#delayMs(), arrive);
    if (this.#random.next() < this.#faults.duplicateRate) this.#clock.schedule(this.#delayMs(), arrive);
  }

  #delayMs(): number {
    const { delayMinMs, delayMaxMs } = this.#faults;
    return delayMinMs + this.#random.next() * (delayMaxMs - delayMinMs);
  }

  #isCut(a: string, b: string): boolean {
    return this.#cuts.has(pair(a, b));
  }

  #host(name: string): Host {
    let host = this.#hosts.get(name);
    if (host === undefined) {
      host = { name, listeners: new Map(), links: new Set() };
      this.#hosts.set(name, host);
    }
    return host;
  }
}

const pair = (a: string, b: string): string => (a < b ? `${a} ${b}` : `${b} ${a}`);

class SimulatedLink implements Link {
  readonly remoteAddress: string;
  readonly #host: Host;
  readonly #carry: (deliver: () => void, control: boolean) => void;
  #other: SimulatedLink | undefined;
  #isOpen = true;
  #early: Uint8Array[] | undefined = [];
  #onFrame: ((frame: Uint8Array) => void) | undefined;
  #onClose: ((error: Error | undefined) => void) | undefined;
  #closedWith: { readonly error: Error | undefined } | undefined;

  constructor(host: Host, remoteAddress: string, carry: (deliver: () => void, control: boolean) => void) {
    this.#host = host;
    this.remoteAddress = remoteAddress;
    this.#carry = carry;
    host.links.add(this);
  }

  get bufferedBytes(): number {
    return 0;
  }

  join(other: SimulatedLink): void {
    this.#other = other;
  }

  send(frame: Uint8Array): void {
    if (!this.#isOpen) return;
    this.#carry(() => this.#other?.receive(frame), false);
  }

  onDrain(): void {
    // Nothing is ever buffered, so there is nothing to report.
  }

  onFrame(listener: (frame: Uint8Array) => void): void {
    this.#onFrame = listener;
    const early = this.#early ?? [];
    this.#early = undefined;
    for (const frame of early) listener(frame);
  }

  onClose(listener: (error: Error | undefined) => void): void {
    this.#onClose = listener;
    if (this.#closedWith !== undefined) listener(this.#closedWith.error);
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#carry(() => this.#other?.finish(undefined), true);
    this.finish(undefined);
  }

  destroy(error?: Error): void {
    if (!this.#isOpen) return;
    this.#carry(
      () => this.#other?.finish(new ConnectionLostError(this.remoteAddress, "the other side dropped it")),
      true,
    );
    this.finish(error);
  }

  /** The process behind this end is gone: nothing reaches it any more, and the other end learns of it. */
  die(): void {
    this.#onFrame = () => undefined;
    this.destroy(new ConnectionLostError(this.remoteAddress, "the process was killed"));
  }

  receive(frame: Uint8Array): void {
    if (!this.#isOpen) return;
    if (this.#early !== undefined) this.#early.push(frame);
    else this.#onFrame?.(frame);
  }

  finish(error: Error | undefined): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#host.links.delete(this);
    this.#closedWith = { error };
    this.#onClose?.(error);
  }
}
