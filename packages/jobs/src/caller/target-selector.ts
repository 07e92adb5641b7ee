import { keepNewest } from "@holdfast/kernel";

/** Most jobs whose target is remembered; the one used longest ago is forgotten first. */
const REMEMBERED_MAX_COUNT = 10_000;

/**
 * Which node to ask, and in which order.
 *
 * For a job the node that took it comes first (it may be one that is not configured: a redirect taught it),
 * then the node that answered last, then the other gates from there on round, then the managers. So a client
 * keeps to one connection while it works, and clients that start at different gates share the load.
 */
export class TargetSelector {
  readonly #gates: readonly string[];
  #managers: readonly string[];
  readonly #byJob = new Map<string, string>();
  /** Nodes whose connection was lost and that have not answered since. */
  readonly #lost = new Set<string>();
  #gateIndex = 0;
  #managerIndex = 0;
  #current: string | undefined;

  /** @param startAt Where the rotation starts, a whole number from 0; a random one spreads clients over gates. */
  constructor(options: {
    readonly gates: readonly string[];
    readonly managers: readonly string[];
    readonly startAt?: number;
  }) {
    this.#gates = options.gates;
    this.#managers = options.managers;
    const startAt = options.startAt ?? 0;
    this.#current = rotate(options.gates, startAt)[0] ?? rotate(options.managers, startAt)[0];
  }

  isGate(address: string): boolean {
    return this.#gates.includes(address);
  }

  /** The next gate in rotation; undefined when none is configured. */
  nextGate(): string | undefined {
    const address = this.#gates[this.#gateIndex % this.#gates.length];
    this.#gateIndex += 1;
    return address;
  }

  /** The next manager in rotation; undefined when none is configured. */
  nextManager(): string | undefined {
    const address = this.#managers[this.#managerIndex % this.#managers.length];
    this.#managerIndex += 1;
    return address;
  }

  /** All configured nodes: gates in order, then managers in order. */
  all(): readonly string[] {
    return [...new Set([...this.#gates, ...this.#managers])];
  }

  /** Replaces the managers, when more of them became known. */
  setManagers(addresses: readonly string[]): void {
    this.#managers = [...addresses];
    if (
      this.#current === undefined ||
      (!this.#gates.includes(this.#current) && !addresses.includes(this.#current))
    ) {
      this.#current = this.#gates[0] ?? this.#managers[0];
    }
  }

  /** Jobs whose own node is remembered. */
  get rememberedCount(): number {
    return this.#byJob.size;
  }

  /** Every node in the order in which to ask it, without repeats. */
  targets(jobId?: string): readonly string[] {
    const known = jobId === undefined ? undefined : this.#byJob.get(jobId);
    const recorded =
      known !== undefined && this.#lost.has(known) && this.#isConfigured(known) ? undefined : known;
    const current = this.#current;
    const gates = startingWith(this.#gates, current);
    const managers = startingWith(this.#managers, current);
    // A manager that answered last does not come before the gates: a gate sees the whole job.
    return [...new Set([...(recorded === undefined ? [] : [recorded]), ...gates, ...managers])];
  }

  /** Remembers who answers for a job, and who answers at all. */
  succeeded(address: string, jobId?: string): void {
    this.#lost.delete(address);
    if (this.#isConfigured(address)) this.#current = address;
    if (jobId === undefined) return;
    this.#byJob.delete(jobId);
    this.#byJob.set(jobId, address);
    keepNewest(this.#byJob, REMEMBERED_MAX_COUNT);
  }

  /**
   * The connection to a node ended by itself. It may be frozen or cut off, where a new connection would cost a long
   * wait: the others are asked first, also about its jobs, until it answers again.
   */
  lost(address: string): void {
    if (!this.#isConfigured(address)) return;
    this.#lost.add(address);
    this.failed(address);
  }

  /** Turns to the next node of the same kind when the one in use fails, and forgets it as the job's target. */
  failed(address: string, jobId?: string): void {
    if (this.#current === address) {
      const ring = this.#gates.includes(address) ? this.#gates : this.#managers;
      this.#current = ring[(ring.indexOf(address) + 1) % ring.length];
    }
    if (jobId !== undefined && this.#byJob.get(jobId) === address) this.#byJob.delete(jobId);
  }

  forget(jobId: string): void {
    this.#byJob.delete(jobId);
  }

  #isConfigured(address: string): boolean {
    return this.#gates.includes(address) || this.#managers.includes(address);
  }
}

const rotate = (ring: readonly string[], by: number): readonly string[] => {
  const start = ring.length === 0 ? 0 : by % ring.length;
  return [...ring.slice(start), ...ring.slice(0, start)];
};

const startingWith = (ring: readonly string[], first: string | undefined): readonly string[] =>
  first === undefined ? ring : rotate(ring, Math.max(0, ring.indexOf(first)));
