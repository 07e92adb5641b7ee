import { type Abortable, type Clock, withTimeout } from "@holdfast/kernel";
import type { Node } from "./node.ts";
import type { NodeHealthRecord } from "./node-health.ts";
import type { NodeList } from "./node-list.ts";

export interface HealthReport {
  readonly nodes: readonly NodeHealthRecord[];
  readonly totalCount: number;
  readonly healthyCount: number;
}

/** Pings nodes to learn how they are: all when someone asks, those that are unwell by itself. */
export class HealthChecks {
  readonly #clock: Clock;
  readonly #nodes: NodeList;

  constructor(clock: Clock, nodes: NodeList) {
    this.#clock = clock;
    this.#nodes = nodes;
  }

  /** What is known of every node, without asking it. */
  get records(): readonly NodeHealthRecord[] {
    return this.#nodes.all.map((node) => node.health.record(node));
  }

  /** Pings every node, all at once, each within `timeoutMs`. Lifts no hold. @throws signal.reason. */
  async checkAll(options: Abortable & { readonly timeoutMs: number }): Promise<HealthReport> {
    await Promise.all(this.#nodes.all.map((node) => this.#check(node, options)));
    const nodes = this.records;
    return {
      nodes,
      totalCount: nodes.length,
      healthyCount: nodes.filter(({ isHealthy }) => isHealthy).length,
    };
  }

  /** Gives nodes whose ejection is over their trial, so that a client without traffic finds them again too. */
  async probe(options: {
    readonly everyMs: number;
    readonly timeoutMs: number;
    readonly signal: AbortSignal;
  }): Promise<never> {
    const { everyMs, signal, timeoutMs } = options;
    for (;;) {
      await this.#clock.sleep(everyMs, { signal, unref: true });
      const due = this.#nodes.all.filter(({ health }) => health.eligibility === "trial");
      for (const { health } of due) health.beginTrial();
      await Promise.all(due.map((node) => this.#check(node, { signal, timeoutMs })));
    }
  }

  async #check(node: Node, options: Abortable & { readonly timeoutMs: number }): Promise<void> {
    const operation = `health check of ${node.host}`;
    try {
      await withTimeout(this.#clock, { operation, ...options }, (signal) =>
        node.check({ signal, timeoutMs: options.timeoutMs }, options.signal),
      );
      this.#nodes.onAnswered(node);
    } catch (error) {
      options.signal?.throwIfAborted();
      this.#nodes.onCheckFailed(node, error);
    }
  }
}
