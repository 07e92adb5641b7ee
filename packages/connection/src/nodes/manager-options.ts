import { type Clock, InvalidInputError, type Logger } from "@holdfast/kernel";
import {
  EitherBudget,
  type HedgeOptions,
  type RetryBudget,
  type RetryPreset,
  retryPresets,
  ShareBudget,
  TokenBudget,
} from "@holdfast/resilience";
import { formatAddress, parseAddress } from "../address.ts";
import type { Credential, EndpointOptions } from "../endpoint.ts";
import { type EndpointSettings, settingsOf, whole } from "../link/settings.ts";
import type { PoolOptions } from "../pool/pool-options.ts";
import { fixedCredential, type TokenSource } from "../tokens/token-source.ts";
import { type HealthOptions, type HealthSettings, healthSettingsOf } from "./node-health.ts";
import { type NodePicker, powerOfTwoChoices } from "./node-picker.ts";

/** The port of a host that names none. */
export const DEFAULT_PORT = 7_000;

/** Connections of the whole client, over all nodes. */
export type ManagerPoolOptions = Pick<
  PoolOptions<unknown>,
  | "minCount"
  | "maxCount"
  | "acquireTimeoutMs"
  | "idleTimeoutMs"
  | "lifetimeMs"
  | "waitingMaxCount"
  | "leakAfterMs"
>;

export interface ConnectionManagerOptions extends EndpointOptions {
  /** `host`, `host:port` or `[v6]:port`; the port is 7000 where none is named. Duplicates count once. */
  readonly hosts: readonly string[];
  /** Shown to each node. Default: none. */
  readonly credential?: Credential | TokenSource;
  /** Default: 5 to 20 connections, 5 s for a lease, 60 s idle, 30 min of life. */
  readonly pool?: ManagerPoolOptions;
  /** From dialling to ready, milliseconds. Default 5_000. */
  readonly connectTimeoutMs?: number;
  /** One request, one attempt, milliseconds. Default 5_000. */
  readonly requestTimeoutMs?: number;
  /** Default: `retryPresets.standard`, 3 retries. */
  readonly retry?: RetryPreset;
  /**
   * Limits the retries of all requests together. Default: 100 tokens as in gRPC, which is enough in quiet times, or a
   * tenth of the requests of the last 10 s, so that a busy node may take more with it when it dies.
   */
  readonly retryBudget?: RetryBudget;
  /** Asks a second node when an idempotent request takes longer than most. Default: off. */
  readonly hedge?: HedgeOptions;
  readonly health?: HealthOptions;
  /** Which of the nodes that may be asked is asked. Default: {@link powerOfTwoChoices}. */
  readonly picker?: NodePicker;
  /** How often nodes that are unwell are looked at, milliseconds. Default 1_000. */
  readonly probeEveryMs?: number;
}

/** {@link ConnectionManagerOptions}, checked and complete. */
export interface ManagerSettings {
  readonly endpoint: EndpointSettings;
  readonly transport: EndpointOptions["transport"];
  readonly logger: Logger;
  readonly hosts: readonly string[];
  readonly tokens: TokenSource;
  readonly pool: ManagerPoolOptions & {
    readonly minCount: number;
    readonly maxCount: number;
    readonly acquireTimeoutMs: number;
  };
  readonly connectTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly retry: RetryPreset;
  readonly retryBudget: RetryBudget;
  readonly hedge: HedgeOptions | undefined;
  readonly health: HealthSettings;
  readonly picker: NodePicker;
  readonly probeEveryMs: number;
}

/** @throws InvalidInputError naming the field that is wrong; no socket was opened. */
export const managerSettingsOf = (options: ConnectionManagerOptions): ManagerSettings => {
  const endpoint = settingsOf(options);
  const { credential, pool = {} } = options;
  const maxCount = whole("pool.maxCount", pool.maxCount ?? 20, { min: 1 });
  return {
    endpoint,
    transport: options.transport,
    logger: endpoint.logger,
    hosts: hostsOf(options.hosts),
    tokens: credential !== undefined && "renew" in credential ? credential : fixedCredential(credential),
    pool: {
      ...pool,
      minCount: whole("pool.minCount", pool.minCount ?? Math.min(5, maxCount), { min: 0, max: maxCount }),
      maxCount,
      acquireTimeoutMs: whole("pool.acquireTimeoutMs", pool.acquireTimeoutMs ?? 5_000, { min: 1 }),
    },
    connectTimeoutMs: whole("connectTimeoutMs", options.connectTimeoutMs ?? 5_000, { min: 1 }),
    requestTimeoutMs: whole("requestTimeoutMs", options.requestTimeoutMs ?? 5_000, { min: 1 }),
    retry: options.retry ?? retryPresets.standard,
    retryBudget: options.retryBudget ?? defaultBudget(options.clock),
    hedge: options.hedge,
    health: healthSettingsOf(options.health),
    picker: options.picker ?? powerOfTwoChoices({ random: options.random }),
    probeEveryMs: whole("probeEveryMs", options.probeEveryMs ?? 1_000, { min: 10 }),
  };
};

const defaultBudget = (clock: Clock): RetryBudget =>
  new EitherBudget(new TokenBudget(), new ShareBudget({ share: 0.1, minPerSecond: 0, clock }));

export const hostOf = (text: string): string =>
  formatAddress(parseAddress(text, { field: "hosts", defaultPort: DEFAULT_PORT }));

const hostsOf = (hosts: readonly string[]): readonly string[] => {
  if (hosts.length === 0) throw new InvalidInputError("hosts", hosts, "a list of at least one host");
  return [...new Set(hosts.map(hostOf))];
};
