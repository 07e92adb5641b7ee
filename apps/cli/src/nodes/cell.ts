import { hostname } from "node:os";
import type { Database } from "@holdfast/data";
import { createRegistry, createSqlJobStore, type JobStore, shardJobs } from "@holdfast/jobs";
import { createGate, type Gate } from "@holdfast/jobs/gate";
import { createManager, type Manager } from "@holdfast/jobs/manager";
import type { JobReporter } from "@holdfast/jobs/reporters";
import { createInlineExecutor, createThreadExecutor, createWorker, type Worker } from "@holdfast/jobs/worker";
import { type Clock, type Logger, newId, systemRandom } from "@holdfast/kernel";
import type { NodeSecurity } from "../security.ts";
import { claimSchema } from "./datacenter-schema.ts";
import type { RateLimits } from "./rate-limits.ts";
import type { RunningParts } from "./running.ts";
import { openWorkerDatabase } from "./worker-database.ts";

/** What every role started from the command line shares. */
export interface CellContext {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly security: NodeSecurity;
  readonly parts: RunningParts;
}

const credentialOf = ({ security }: CellContext) =>
  security.credential === undefined ? {} : { credential: security.credential };
const authenticateOf = ({ security }: CellContext) =>
  security.authenticate === undefined ? {} : { authenticate: security.authenticate };

/** Where a gate or manager keeps its jobs. */
interface StoreOptions {
  readonly database: Database;
  readonly schema: string;
  /** The directory lock of an embedded database proves that nobody else can hold a lease in it. */
  readonly exclusive: boolean;
  /** Spread the table of jobs over the nodes of Citus, if it is not yet. */
  readonly shardJobs?: boolean | undefined;
}

const openStore = async (
  context: CellContext,
  options: StoreOptions & { readonly nodeId: string },
): Promise<JobStore> => {
  const { clock, logger, parts } = context;
  if (options.shardJobs) await shardJobs({ database: options.database, schema: options.schema });
  const store = await createSqlJobStore({ sql: options.database, schema: options.schema, clock, logger });
  parts.add({ name: `store of ${options.nodeId}`, stop: async () => store[Symbol.asyncDispose]() });
  if (options.exclusive) await store.coordination.leases.revokeAll();
  return store;
};

/**
 * Nobody waits for the lease of a node that has its database to itself: at the next start all leases are revoked.
 * So it may be long, and an idle process writes to its disk six times a minute instead of seventy.
 */
const EXCLUSIVE_NODE_LEASE_MS = 30_000;

/** Managers of the same process do not vanish; this only brings the console's figures up to date. */
const EXCLUSIVE_HEALTH_EVERY_MS = 2_000;

/** No notice of new work is lost inside one process. */
const EXCLUSIVE_CLAIM_POLL_MS = 3_000;

/** Nobody else's jobs are there to be taken over; a deadline may be noticed this much late. */
const EXCLUSIVE_SWEEP_EVERY_MS = 2_000;

const timesOf = ({ exclusive }: StoreOptions) =>
  exclusive ? { nodeLeaseMs: EXCLUSIVE_NODE_LEASE_MS, sweepEveryMs: EXCLUSIVE_SWEEP_EVERY_MS } : {};

export const startManager = async (
  context: CellContext,
  options: StoreOptions & {
    readonly datacenter: string;
    readonly listen: string;
    readonly nodeId?: string;
    /** The address that others dial, when it is not the one listened on. */
    readonly advertise?: string;
  },
): Promise<Manager> => {
  const nodeId = options.nodeId ?? newId("manager", systemRandom);
  const logger = context.logger.child({ node: nodeId });
  const store = await openStore({ ...context, logger }, { ...options, nodeId });
  await claimSchema(options);
  const manager = await createManager({
    nodeId,
    datacenter: options.datacenter,
    listen: options.listen,
    store,
    transport: context.security.transport,
    clock: context.clock,
    random: systemRandom,
    logger,
    ...(options.exclusive ? { claimPollMs: EXCLUSIVE_CLAIM_POLL_MS } : {}),
    ...timesOf(options),
    ...(options.advertise === undefined ? {} : { advertise: options.advertise }),
    ...authenticateOf(context),
  });
  context.parts.add({ name: nodeId, stop: (stop) => manager.stop(stop) });
  return manager;
};

export const startGate = async (
  context: CellContext,
  options: StoreOptions & {
    readonly listen: string;
    readonly datacenters: Readonly<Record<string, readonly string[]>>;
    /** Default: those of the gate. */
    readonly rateLimits?: RateLimits | undefined;
    readonly nodeId?: string;
    /** The address that others dial, when it is not the one listened on. */
    readonly advertise?: string;
    readonly reporters?: readonly JobReporter[];
  },
): Promise<Gate> => {
  const nodeId = options.nodeId ?? newId("gate", systemRandom);
  const logger = context.logger.child({ node: nodeId });
  const store = await openStore({ ...context, logger }, { ...options, nodeId });
  const gate = await createGate({
    nodeId,
    listen: options.listen,
    store,
    datacenters: options.datacenters,
    transport: context.security.transport,
    clock: context.clock,
    random: systemRandom,
    logger,
    ...timesOf(options),
    ...(options.exclusive ? { healthEveryMs: EXCLUSIVE_HEALTH_EVERY_MS } : {}),
    ...(options.rateLimits === undefined ? {} : { rateLimits: options.rateLimits }),
    ...(options.advertise === undefined ? {} : { advertise: options.advertise }),
    ...(options.reporters === undefined ? {} : { reporters: options.reporters }),
    ...authenticateOf(context),
    ...credentialOf(context),
  });
  context.parts.add({ name: nodeId, stop: (stop) => gate.stop(stop) });
  return gate;
};

export const startWorker = async (
  context: CellContext,
  options: {
    readonly datacenter: string;
    readonly managers: readonly string[];
    readonly cores: number;
    readonly modulePath: string | undefined;
    readonly database: Database | undefined;
    readonly nodeId?: string;
  },
): Promise<Worker> => {
  const nodeId = options.nodeId ?? newId("worker", systemRandom);
  const database =
    options.database === undefined
      ? undefined
      : await openWorkerDatabase(options.database, options.datacenter);
  const logger = context.logger.child({ node: nodeId });
  const shared = { nodeId, clock: context.clock, logger, ...(database === undefined ? {} : { database }) };
  // Without a module a worker offers nothing, and needs no thread for it.
  const executor =
    options.modulePath === undefined
      ? createInlineExecutor({ ...shared, registry: createRegistry([]) })
      : createThreadExecutor({ ...shared, modulePath: options.modulePath, cores: options.cores });
  const worker = await createWorker({
    ...shared,
    datacenter: options.datacenter,
    managers: options.managers,
    cores: options.cores,
    executor,
    host: hostname(),
    pid: process.pid,
    transport: context.security.transport,
    random: systemRandom,
    ...credentialOf(context),
  });
  context.parts.add({ name: nodeId, stop: (stop) => worker.stop(stop) });
  return worker;
};
