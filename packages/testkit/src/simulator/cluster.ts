import { createMemoryJobStore, type JobStore, type WorkflowRegistry } from "@holdfast/jobs";
import { createClient, type JobsClient } from "@holdfast/jobs/client";
import { createGate } from "@holdfast/jobs/gate";
import { createManager } from "@holdfast/jobs/manager";
import { createWorker } from "@holdfast/jobs/worker";
import { type Clock, type Logger, type Random, silentLogger } from "@holdfast/kernel";
import { Ledger } from "./ledger.ts";
import type { SimulatedNetwork } from "./simulated-network.ts";
import { watchStore } from "./watched-store.ts";

export interface ClusterShape {
  readonly gateCount: number;
  /** Managers and workers by datacenter. */
  readonly datacenters: Readonly<
    Record<string, { readonly managerCount: number; readonly workerCount: number }>
  >;
}

/** Two gates, three managers and four workers in two datacenters. */
export const defaultShape: ClusterShape = {
  gateCount: 2,
  datacenters: { east: { managerCount: 2, workerCount: 2 }, west: { managerCount: 1, workerCount: 2 } },
};

/** A process of the simulated cluster: killed without warning, started again under the same name. */
export interface SimulatedNode {
  readonly host: string;
  readonly role: "gate" | "manager" | "worker";
  readonly state: "down" | "starting" | "up" | "dying";
  kill(): Promise<void>;
  start(): Promise<void>;
}

interface Running {
  kill(): Promise<void> | void;
}

/**
 * The whole product on a virtual clock and a simulated network: every role is the real one; only clock, chance,
 * network and stores are the simulation's. Stores outlive the nodes, as databases do.
 */
export class SimulatedCluster {
  readonly client: JobsClient;
  readonly nodes: readonly SimulatedNode[];
  readonly ledgers: ReadonlyMap<string, Ledger>;
  readonly gateStore: JobStore;
  /** What the stores committed and never may. */
  readonly storeViolations: string[] = [];

  constructor(options: {
    readonly clock: Clock;
    readonly random: Random;
    readonly network: SimulatedNetwork;
    readonly shape: ClusterShape;
    readonly workflows: WorkflowRegistry;
    readonly logger?: Logger;
  }) {
    const { clock, random, network, shape } = options;
    const logger = options.logger ?? silentLogger;
    const nodes: SimulatedNode[] = [];
    const ledgers = new Map<string, Ledger>();
    const node = (host: string, role: SimulatedNode["role"], create: () => Promise<Running>): void => {
      nodes.push(new RestartableNode(host, role, network, create));
    };
    const base = (host: string) => ({
      clock,
      random,
      logger: logger.child({ node: host }),
      transport: network.transport(host),
    });

    const createStore = (name: string): JobStore =>
      watchStore(createMemoryJobStore({ clock, random }) as JobStore, {
        name: `the store of ${name}`,
        violations: this.storeViolations,
      });
    this.gateStore = createStore("the gates");
    const managersOf: Record<string, readonly string[]> = {};
    for (const [datacenter, { managerCount, workerCount }] of Object.entries(shape.datacenters)) {
      const store = createStore(datacenter);
      const ledger = new Ledger();
      ledgers.set(datacenter, ledger);
      const managers = Array.from(
        { length: managerCount },
        (_, index) => `manager-${datacenter}-${index + 1}`,
      );
      managersOf[datacenter] = managers.map((host) => `${host}:7411`);
      for (const host of managers) {
        node(host, "manager", () =>
          createManager({ ...base(host), nodeId: host, datacenter, listen: `${host}:7411`, store }),
        );
      }
      for (let index = 1; index <= workerCount; index += 1) {
        const host = `worker-${datacenter}-${index}`;
        node(host, "worker", () =>
          createWorker({
            ...base(host),
            nodeId: host,
            datacenter,
            managers: managersOf[datacenter] ?? [],
            cores: 3,
            registry: options.workflows,
            database: ledger.database,
          }),
        );
      }
    }
    const gates = Array.from({ length: shape.gateCount }, (_, index) => `gate-${index + 1}`);
    for (const host of gates) {
      node(host, "gate", () =>
        createGate({
          ...base(host),
          nodeId: host,
          listen: `${host}:7401`,
          store: this.gateStore,
          datacenters: managersOf,
        }),
      );
    }
    this.nodes = nodes;
    this.ledgers = ledgers;
    this.client = createClient({
      ...base("client"),
      gates: gates.map((host) => `${host}:7401`),
      clientId: "client",
    });
  }

  async start(): Promise<void> {
    for (const node of this.nodes) await node.start();
  }

  async stop(): Promise<void> {
    await this.client.close();
    for (const node of this.nodes) await node.kill();
  }
}

class RestartableNode implements SimulatedNode {
  readonly host: string;
  readonly role: SimulatedNode["role"];
  readonly #network: SimulatedNetwork;
  readonly #create: () => Promise<Running>;
  #running: Running | undefined;
  #state: SimulatedNode["state"] = "down";

  constructor(
    host: string,
    role: SimulatedNode["role"],
    network: SimulatedNetwork,
    create: () => Promise<Running>,
  ) {
    this.host = host;
    this.role = role;
    this.#network = network;
    this.#create = create;
  }

  get state(): SimulatedNode["state"] {
    return this.#state;
  }

  async start(): Promise<void> {
    if (this.#state !== "down") return;
    this.#state = "starting";
    this.#running = await this.#create();
    this.#state = "up";
  }

  async kill(): Promise<void> {
    if (this.#state !== "up") return;
    this.#state = "dying";
    this.#network.kill(this.host);
    await this.#running?.kill();
    this.#running = undefined;
    this.#state = "down";
  }
}
