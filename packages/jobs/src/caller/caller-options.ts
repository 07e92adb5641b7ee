import type { Credential, Transport } from "@holdfast/connection";
import type { Clock, Logger, Random } from "@holdfast/kernel";

/**
 * Twice this is less than the lease of a node (5 s by default): one that hangs or is cut off is left at about the time
 * when its jobs have another leader, not long after it. Costs an idle connection a ping every 2 s.
 */
export const HEARTBEAT_MS = 2_000;

/** What it takes to ask nodes and to follow jobs at them. Durations are milliseconds. */
export interface CallerOptions {
  /** Gates to ask, first. */
  readonly gates: readonly string[];
  /** Managers to ask when no gate answers, or alone. */
  readonly managers: readonly string[];
  readonly transport: Transport;
  readonly credential: Credential | undefined;
  /** Who we are in the handshake. */
  readonly identity: { readonly nodeId: string; readonly role: string; readonly address?: string };
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Silence of a connection after which its node is pinged; after twice that it counts as gone. */
  readonly heartbeatMs: number;
  /** Longest wait for one answer. */
  readonly requestTimeoutMs: number;
  /** From the first attempt of a call to its last. */
  readonly deadlineMs: number;
  /** Before the second attempt; doubles with each further one. */
  readonly backoffBaseMs: number;
  /** Longest wait that we choose ourselves; a server may ask for more. */
  readonly backoffMaxMs: number;
  /** Silence of a followed job after which its node is asked whether something was missed. */
  readonly silenceMs: number;
  /** Events of one job that wait for a slow consumer; beyond it the follow pauses at its position. */
  readonly bufferMaxCount: number;
  /** The same in bytes, about. */
  readonly bufferMaxBytes: number;
}
