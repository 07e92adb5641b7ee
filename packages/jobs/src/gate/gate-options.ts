import { type Credential, parseAddress, type ServerOptions, type Transport } from "@holdfast/connection";
import { type Clock, InvalidInputError, type Logger, type Random } from "@holdfast/kernel";
import type { OverloadSource, WindowLimit } from "@holdfast/resilience";
import type { JobReporter } from "../model/job-reporter.ts";
import type { JobStore } from "../model/job-table.ts";
import { checkName, checkRange, type RetentionOptions, retentionSettings } from "../node/option-checks.ts";

/** What `createGate` takes. Durations are milliseconds. */
export interface GateOptions {
  /** Unique among the gates. The same id may be used again after a restart. */
  readonly nodeId: string;
  /** `host:port`; port 0 takes a free one. */
  readonly listen: string;
  /** The address that others dial, when it is not the one listened on. */
  readonly advertise?: string;
  /** The gates' store, shared by all of them and by nobody else. The gate does not close it. */
  readonly store: JobStore;
  /** Addresses of managers by datacenter. One per datacenter is enough: it names the others. */
  readonly datacenters: Readonly<Record<string, readonly string[]>>;
  readonly transport: Transport;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** What managers, and other gates, are shown. */
  readonly credential?: Credential;
  /** See ServerOptions. Default: everything is allowed, which is only right on loopback. */
  readonly authenticate?: ServerOptions["authenticate"];
  /** Shown in `cluster.get` and `ping`. Default "0.1.0". */
  readonly version?: string;
  /** How long this node counts as alive without renewing its lease. Default 5000, at least 300. */
  readonly nodeLeaseMs?: number;
  /** How often jobs of dead gates, and deadlines, are looked for. Default 1000. */
  readonly sweepEveryMs?: number;
  /** How often each datacenter is asked how it is. Default 1000. */
  readonly healthEveryMs?: number;
  /** How long a gate that just started waits for the first answer of a datacenter. Default 5000. */
  readonly initializingMs?: number;
  /** How long datacenters have to confirm a cancel or a timeout before they count as missing. Default 60_000. */
  readonly endingGraceMs?: number;
  /** How much longer than the job's timeout a datacenter has to report it by itself. Default 2000. */
  readonly timeoutGraceMs?: number;
  /** Requests per client and operation; see `jobOperationLimits` for the defaults. `off` for trusted clients only. */
  readonly rateLimits?: Readonly<Record<string, WindowLimit>> | "off";
  /** How loaded the machine is, beside what the gate measures itself (its commits). */
  readonly load?: OverloadSource;
  readonly retention?: RetentionOptions;
  /** Send the results of jobs elsewhere. All gates of a cluster should have the same. Default none. The gate closes them. */
  readonly reporters?: readonly JobReporter[];
  /** Changes waiting for a commit; more are refused with KERNEL_OVERLOADED. Default 20_000. */
  readonly pendingMaxCount?: number;
}

type Optional = "authenticate" | "advertise" | "retention" | "credential" | "rateLimits" | "load";

export type GateSettings = Required<Omit<GateOptions, Optional>> &
  Pick<GateOptions, Optional> & { readonly retention: Required<RetentionOptions> };

/** The options with defaults filled in. @throws InvalidInputError naming the option. */
export const gateSettings = (options: GateOptions): GateSettings => {
  const settings: GateSettings = {
    version: "0.1.0",
    nodeLeaseMs: 5_000,
    sweepEveryMs: 1_000,
    healthEveryMs: 1_000,
    initializingMs: 5_000,
    endingGraceMs: 60_000,
    timeoutGraceMs: 2_000,
    pendingMaxCount: 20_000,
    reporters: [],
    ...options,
    retention: retentionSettings(options.retention),
  };
  checkName("nodeId", settings.nodeId);
  checkRange("nodeLeaseMs", settings.nodeLeaseMs, 300, 3_600_000);
  checkRange("sweepEveryMs", settings.sweepEveryMs, 10, 60_000);
  checkRange("healthEveryMs", settings.healthEveryMs, 10, 60_000);
  checkRange("initializingMs", settings.initializingMs, 0, 3_600_000);
  checkRange("endingGraceMs", settings.endingGraceMs, 0, 86_400_000);
  checkRange("timeoutGraceMs", settings.timeoutGraceMs, 0, 86_400_000);
  checkRange("pendingMaxCount", settings.pendingMaxCount, 1, 1_000_000);
  checkRateLimits(settings.rateLimits);
  const datacenters = Object.entries(settings.datacenters);
  if (datacenters.length === 0) {
    throw new InvalidInputError("datacenters", "{}", "at least one datacenter with the address of a manager");
  }
  for (const [name, addresses] of datacenters) {
    checkName("datacenters", name);
    if (addresses.length === 0)
      throw new InvalidInputError(`datacenters.${name}`, "[]", "at least one address");
    for (const [index, address] of addresses.entries()) {
      parseAddress(address, { field: `datacenters.${name}[${index}]` });
    }
  }
  return settings;
};

/** @throws InvalidInputError naming the operation. */
const checkRateLimits = (limits: GateOptions["rateLimits"]): void => {
  if (limits === undefined || limits === "off") return;
  for (const [operation, { limit, windowMs }] of Object.entries(limits)) {
    const field = `rateLimits.${operation}`;
    if (!Number.isInteger(limit)) throw new InvalidInputError(`${field}.limit`, limit, "a whole number");
    checkRange(`${field}.limit`, limit, 1, 1_000_000);
    checkRange(`${field}.windowMs`, windowMs, 1, 3_600_000);
  }
};
