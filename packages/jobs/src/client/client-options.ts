import { type Credential, parseAddress, type Transport } from "@holdfast/connection";
import {
  type Clock,
  InvalidInputError,
  type Logger,
  newId,
  type Random,
  silentLogger,
  systemClock,
  systemRandom,
} from "@holdfast/kernel";
import { type CallerOptions, HEARTBEAT_MS } from "../caller/caller-options.ts";

export interface ClientOptions {
  /** `host:port` of gates, asked first. */
  readonly gates?: readonly string[];
  /** `host:port` of managers, asked when no gate answers, or alone when there are no gates. */
  readonly managers?: readonly string[];
  readonly transport: Transport;
  readonly credential?: Credential;
  /** Shown to nodes and part of idempotency keys. Default: `client-` and 16 random hexadecimal digits. */
  readonly clientId?: string;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly logger?: Logger;
  /**
   * Silence after which a node is pinged, milliseconds; after twice that without a word its connection counts as lost
   * and another node is asked. Default 2_000; less than 100 counts as 100.
   */
  readonly heartbeatMs?: number;
  /** Longest wait for one answer, milliseconds. Default 10_000. */
  readonly requestTimeoutMs?: number;
  /** From the first attempt of a call to its last, milliseconds, where the call does not say. Default 60_000. */
  readonly deadlineMs?: number;
  /** Before the second attempt, milliseconds; doubles with each further one. Default 500. */
  readonly backoffBaseMs?: number;
  /** Longest wait that the client chooses itself, milliseconds; a server may ask for more. Default 5_000. */
  readonly backoffMaxMs?: number;
  /** Silence on a watch after which its node is asked whether something was missed, milliseconds. Default 10_000. */
  readonly watchSilenceMs?: number;
  /** Events of one watch that wait for a slow consumer; beyond it the watch pauses at its position. Default 2_000. */
  readonly watchBufferMaxCount?: number;
  /** The same in bytes, about. Default 4 MiB. */
  readonly watchBufferMaxBytes?: number;
}

/** The least that connections take. */
const HEARTBEAT_MIN_MS = 100;

/** What the client needs beyond asking. */
export interface ResolvedClientOptions extends CallerOptions {
  readonly clientId: string;
}

/** @throws InvalidInputError naming the option that is not acceptable. */
export const resolveClientOptions = (options: ClientOptions): ResolvedClientOptions => {
  const random = options.random ?? systemRandom;
  const positive = (field: keyof ClientOptions, fallback: number): number => {
    const value = options[field] ?? fallback;
    if (typeof value !== "number" || !(value > 0)) {
      throw new InvalidInputError(field, value, "a number above 0");
    }
    return value;
  };
  const clientId = checkClientId(options.clientId ?? newId("client", random));
  return {
    gates: checkAddresses("gates", options.gates ?? []),
    managers: checkAddresses("managers", options.managers ?? []),
    transport: options.transport,
    credential: options.credential,
    clientId,
    identity: { nodeId: clientId, role: "client" },
    clock: options.clock ?? systemClock,
    random,
    logger: options.logger ?? silentLogger,
    heartbeatMs: Math.max(HEARTBEAT_MIN_MS, Math.ceil(positive("heartbeatMs", HEARTBEAT_MS))),
    requestTimeoutMs: positive("requestTimeoutMs", 10_000),
    deadlineMs: positive("deadlineMs", 60_000),
    backoffBaseMs: positive("backoffBaseMs", 500),
    backoffMaxMs: positive("backoffMaxMs", 5_000),
    silenceMs: positive("watchSilenceMs", 10_000),
    bufferMaxCount: positive("watchBufferMaxCount", 2_000),
    bufferMaxBytes: positive("watchBufferMaxBytes", 4 * 1024 * 1024),
  };
};

const checkAddresses = (field: string, addresses: readonly string[]): readonly string[] => {
  addresses.forEach((address, index) => {
    const { port } = parseAddress(address, { field: `${field}[${index}]` });
    if (port === 0) {
      throw new InvalidInputError(`${field}[${index}]`, address, "host:port with a port from 1 to 65535");
    }
  });
  return [...new Set(addresses)];
};

const checkClientId = (clientId: string): string => {
  if (clientId === "" || clientId.length > 256 || clientId.includes(":")) {
    throw new InvalidInputError("clientId", clientId, "1 to 256 characters without a colon");
  }
  return clientId;
};
