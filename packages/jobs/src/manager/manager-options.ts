import type { ServerOptions, Transport } from "@holdfast/connection";
import type { Clock, Logger, Random } from "@holdfast/kernel";
import { InvalidInputError } from "@holdfast/kernel";
import type { JobStore } from "../model/job-table.ts";

/** How long finished jobs are kept. What is over either limit goes, oldest first, with its log and tasks. */
export interface RetentionOptions {
  /** Default 7 days. */
  readonly keepMs?: number;
  /** Default 10_000. */
  readonly keepMaxCount?: number;
  /** How often it is looked after. Default 60_000. */
  readonly sweepEveryMs?: number;
}

/** What `createManager` takes. Durations are milliseconds. */
export interface ManagerOptions {
  /** Unique in the datacenter. The same id may be used again after a restart. */
  readonly nodeId: string;
  readonly datacenter: string;
  /** `host:port`; port 0 takes a free one. */
  readonly listen: string;
  /** The address that others dial, when it is not the one listened on. */
  readonly advertise?: string;
  /** The datacenter's store, shared by all its managers. The manager does not close it. */
  readonly store: JobStore;
  readonly transport: Transport;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** See ServerOptions. Default: everything is allowed, which is only right on loopback. */
  readonly authenticate?: ServerOptions["authenticate"];
  /** Shown in `cluster.get` and `ping`. Default "0.1.0". */
  readonly version?: string;
  /** How long this node counts as alive without renewing its lease. Default 5000, at least 300. */
  readonly nodeLeaseMs?: number;
  /** How long a claimed shard is its worker's without renewal. Default 5000, at least 300. */
  readonly taskLeaseMs?: number;
  /** Length of a window of live figures. Default 500, at least 50. */
  readonly windowMs?: number;
  /** How long after its end a window waits for late reports. Default 250. */
  readonly windowDriftMs?: number;
  /** How often workers report progress. Default 250. */
  readonly progressEveryMs?: number;
  /** How often jobs of dead managers, and lapsed claims, are looked for. Default 1000. */
  readonly sweepEveryMs?: number;
  /** Silence after which a worker counts as gone although its connection stands. Default 15_000. */
  readonly workerSilenceMs?: number;
  readonly retention?: RetentionOptions;
  /** Changes waiting for a commit; more are refused with KERNEL_OVERLOADED. Default 20_000. */
  readonly pendingMaxCount?: number;
}

export type ManagerSettings = Required<Omit<ManagerOptions, "authenticate" | "advertise" | "retention">> & {
  readonly retention: Required<RetentionOptions>;
};

/** The options with defaults filled in. @throws InvalidInputError naming the option. */
export const managerSettings = (options: ManagerOptions): ManagerSettings => {
  const settings: ManagerSettings = {
    version: "0.1.0",
    nodeLeaseMs: 5_000,
    taskLeaseMs: 5_000,
    windowMs: 500,
    windowDriftMs: 250,
    progressEveryMs: 250,
    sweepEveryMs: 1_000,
    workerSilenceMs: 15_000,
    pendingMaxCount: 20_000,
    ...options,
    retention: { keepMs: 7 * 86_400_000, keepMaxCount: 10_000, sweepEveryMs: 60_000, ...options.retention },
  };
  checkText("nodeId", settings.nodeId);
  checkText("datacenter", settings.datacenter);
  checkRange("nodeLeaseMs", settings.nodeLeaseMs, 300, 3_600_000);
  checkRange("taskLeaseMs", settings.taskLeaseMs, 300, 3_600_000);
  checkRange("windowMs", settings.windowMs, 50, 60_000);
  checkRange("windowDriftMs", settings.windowDriftMs, 0, 60_000);
  checkRange("progressEveryMs", settings.progressEveryMs, 10, 60_000);
  checkRange("sweepEveryMs", settings.sweepEveryMs, 10, 60_000);
  checkRange("workerSilenceMs", settings.workerSilenceMs, 100, 3_600_000);
  checkRange("pendingMaxCount", settings.pendingMaxCount, 1, 1_000_000);
  checkRange("retention.keepMs", settings.retention.keepMs, 0, Number.MAX_SAFE_INTEGER);
  checkRange("retention.keepMaxCount", settings.retention.keepMaxCount, 0, Number.MAX_SAFE_INTEGER);
  checkRange("retention.sweepEveryMs", settings.retention.sweepEveryMs, 10, 86_400_000);
  return settings;
};

/** Ids stand in lease names beside other parts. */
const checkText = (field: string, value: string): void => {
  if (typeof value !== "string" || value.length < 1 || value.length > 200 || /[\0\n#]/.test(value)) {
    throw new InvalidInputError(field, value, "1 to 200 characters without '#' and line breaks");
  }
};

const checkRange = (field: string, value: number, min: number, max: number): void => {
  if (!(value >= min && value <= max)) {
    throw new InvalidInputError(field, value, `a number from ${min} to ${max}`);
  }
};
