import type { Credential, Transport } from "@holdfast/connection";
import { type Clock, InvalidInputError, type Logger, type Random } from "@holdfast/kernel";
import { checkNumber } from "../model/definition-checks.ts";
import type { WorkflowRegistry } from "../model/registry.ts";
import type { Executor } from "./executor.ts";
import type { WorkerDatabase } from "./worker-database.ts";

/** What `createWorker` takes. Durations are milliseconds. */
export interface WorkerOptions {
  /** Unique in the datacenter. The same id may be used again after a restart. */
  readonly nodeId: string;
  readonly datacenter: string;
  /** `host:port` of at least one manager; the others are learnt. */
  readonly managers: readonly string[];
  readonly transport: Transport;
  /** Needs the scope `operate`. */
  readonly credential?: Credential;
  /** Shards that run at once, 1 to 4096. */
  readonly cores: number;
  /** A file that exports workflows. They run in threads of their own, isolated from the node. */
  readonly modulePath?: string;
  /** Workflows of this program. They run on the event loop of the node itself, without isolation. */
  readonly registry?: WorkflowRegistry;
  /** How to run workflows, in place of `modulePath` and `registry`. The worker closes it. */
  readonly executor?: Executor;
  /** For `effect` and `sql` of workflows. The worker does not close it. */
  readonly database?: WorkerDatabase;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Shown in `holdfast workers`. Default "". */
  readonly host?: string;
  /** Shown in `holdfast workers`. Default 0. */
  readonly pid?: number;
  /** Answered to `cluster.ping`. Default "0.1.0". */
  readonly version?: string;
  /** How long a manager may keep a claim waiting for work. Default 5000, 0 to 60_000. */
  readonly claimWaitMs?: number;
  /**
   * How long after the end of its lease a shard goes on while no manager can be reached. Its writes are
   * fenced, so going on is safe, and results survive a restart of all managers. Default 30_000.
   */
  readonly orphanGraceMs?: number;
  /** Heap of one workflow thread, MiB. Default 1024, at least 16. */
  readonly threadMemoryMb?: number;
}

const MANAGERS_MAX_COUNT = 64;

/** @throws InvalidInputError naming the option. */
export const checkWorkerOptions = (options: WorkerOptions): void => {
  const text = (field: "nodeId" | "datacenter"): void => {
    const value: unknown = options[field];
    if (typeof value !== "string" || value === "" || value.length > 256) {
      throw new InvalidInputError(field, value, "a text of 1 to 256 characters");
    }
  };
  text("nodeId");
  text("datacenter");
  if (options.managers.length === 0 || options.managers.length > MANAGERS_MAX_COUNT) {
    throw new InvalidInputError(
      "managers",
      options.managers,
      `a list of 1 to ${MANAGERS_MAX_COUNT} host:port`,
    );
  }
  checkNumber("cores", options.cores, { min: 1, max: 4_096, integer: true });
  checkNumber("claimWaitMs", options.claimWaitMs ?? 0, { min: 0, max: 60_000 });
  checkNumber("orphanGraceMs", options.orphanGraceMs ?? 0, { min: 0, max: 86_400_000 });
  checkNumber("threadMemoryMb", options.threadMemoryMb ?? 16, { min: 16, max: 1_048_576 });
  const sources = [options.modulePath, options.registry, options.executor];
  if (sources.filter((source) => source !== undefined).length !== 1) {
    throw new InvalidInputError(
      "modulePath",
      options.modulePath,
      "given, or registry or executor instead: exactly one of them",
    );
  }
};
