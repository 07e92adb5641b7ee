import {
  type Connect,
  connect,
  createHandlers,
  createMemoryNetwork,
  type Peer,
  type Transport,
} from "@holdfast/connection";
import { type Clock, seededRandom, silentLogger } from "@holdfast/kernel";
import { VirtualClock } from "@holdfast/kernel/testing";
import { createManager, type Manager } from "../../src/manager/index.ts";
import type { ManagerOptions } from "../../src/manager/manager-options.ts";
import { createMemoryJobStore } from "../../src/model/job-store/index.ts";
import type { JobStore } from "../../src/model/job-table.ts";
import { ScriptedClient } from "./scripted-client.ts";
import { type Definitions, ScriptedWorker } from "./scripted-worker.ts";

/** Managers, scripted workers and clients over a memory network. */
export class Cluster {
  readonly clock: Clock;
  readonly virtual: VirtualClock | undefined;
  readonly transport: Transport;
  readonly store: JobStore;
  readonly random = seededRandom(7);
  readonly managers: Manager[] = [];
  readonly peers: Peer[] = [];
  #jobCount = 0;

  constructor(options: { readonly store?: (clock: Clock) => JobStore; readonly clock?: Clock } = {}) {
    this.virtual = options.clock === undefined ? new VirtualClock() : undefined;
    this.clock = options.clock ?? (this.virtual as VirtualClock);
    this.transport = createMemoryNetwork({ clock: this.clock, latencyMs: 1 });
    this.store =
      options.store?.(this.clock) ?? createMemoryJobStore({ clock: this.clock, random: seededRandom(1) });
  }

  /** Lets virtual time pass until `promise` settles. On a real clock it simply waits. */
  async run<T>(promise: Promise<T>, limitMs = 120_000): Promise<T> {
    if (this.virtual === undefined) return promise;
    let settled = false;
    const watched = promise.finally(() => {
      settled = true;
    });
    watched.catch(() => undefined);
    await this.virtual.advanceUntil(() => settled, limitMs);
    return watched;
  }

  /** Lets time pass until the condition holds. */
  async until(condition: () => boolean | Promise<boolean>, limitMs = 120_000): Promise<void> {
    const started = this.clock.monotonicNow();
    while (!(await condition())) {
      if (this.clock.monotonicNow() - started > limitMs) throw new Error("the condition did not come true");
      await this.run(this.clock.sleep(5));
    }
  }

  async advance(ms: number): Promise<void> {
    await this.run(this.clock.sleep(ms), ms + 1);
  }

  async manager(nodeId: string, options: Partial<ManagerOptions> = {}): Promise<Manager> {
    const manager = await this.run(
      createManager({
        nodeId,
        datacenter: "east",
        listen: "127.0.0.1:0",
        store: this.store,
        transport: this.transport,
        clock: this.clock,
        random: this.random,
        logger: silentLogger,
        ...options,
      }),
    );
    this.managers.push(manager);
    return manager;
  }

  async connect(
    address: string,
    identity: Parameters<Connect>[0]["identity"],
    handlers = createHandlers(),
  ): Promise<Peer> {
    const peer = await this.run(
      connect({
        address,
        identity,
        handlers,
        clock: this.clock,
        random: this.random,
        transport: this.transport,
      }),
    );
    this.peers.push(peer);
    return peer;
  }

  async worker(
    manager: Manager,
    nodeId: string,
    definitions: Definitions = { noop: {} },
  ): Promise<ScriptedWorker> {
    const worker = new ScriptedWorker(this, nodeId, definitions);
    await worker.attach(manager);
    return worker;
  }

  async client(manager: Manager): Promise<ScriptedClient> {
    const client = new ScriptedClient(this);
    await client.attach(manager);
    return client;
  }

  nextJobId(): string {
    this.#jobCount += 1;
    return `job-${String(this.#jobCount).padStart(16, "0")}`;
  }

  async close(): Promise<void> {
    await this.run(Promise.all(this.peers.map((peer) => peer.close())));
    await this.run(Promise.all(this.managers.map((manager) => manager.stop({ drainMs: 0 }))));
    await this.store[Symbol.asyncDispose]();
  }
}
