import type { Gate } from "./gate.ts";
import { GateNode } from "./gate-node.ts";
import type { GateOptions } from "./gate-options.ts";

/**
 * Opens a gate: the entry point of clients over many datacenters. Resolves when it listens and holds its
 * lease; datacenters may still be unknown then (submissions are answered with JOBS_NOT_READY, retryable).
 * @throws InvalidInputError naming the option; AddressInUseError; what the store throws. Nothing stays open then.
 */
export const createGate = async (options: GateOptions): Promise<Gate> => {
  const gate = new GateNode(options);
  try {
    await gate.start();
    return gate;
  } catch (error) {
    await gate.kill();
    throw error;
  }
};
