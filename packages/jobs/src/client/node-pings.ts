import { type Clock, toWireError, withTimeout } from "@holdfast/kernel";
import { ping } from "@holdfast/protocol/contract";
import type { NodeLinks } from "../caller/node-links.ts";
import type { PingAnswer } from "./jobs-client.ts";

const PING_TIMEOUT_MS = 5_000;

/** Asks every address at once; a node that does not answer within 5 s is reported with its error. */
export const pingAll = (
  links: NodeLinks,
  clock: Clock,
  addresses: readonly string[],
  options: { readonly signal?: AbortSignal | undefined },
): Promise<readonly PingAnswer[]> =>
  Promise.all(
    addresses.map(async (address): Promise<PingAnswer> => {
      const startedAt = clock.monotonicNow();
      try {
        const limit = {
          operation: `the ping of ${address}`,
          timeoutMs: PING_TIMEOUT_MS,
          signal: options.signal,
        };
        const answer = await withTimeout(clock, limit, async (signal) => {
          const peer = await links.get(address, { signal });
          return peer.request(ping, {}, { signal });
        });
        return {
          address,
          roundTripMs: clock.monotonicNow() - startedAt,
          nodeId: answer.nodeId,
          role: answer.role,
          state: answer.state,
          version: answer.version,
          isLeader: answer.isLeader,
        };
      } catch (error) {
        options.signal?.throwIfAborted();
        const { code, message } = toWireError(error);
        return { address, error: { code, message } };
      }
    }),
  );
