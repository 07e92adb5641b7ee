import type { RequestContext } from "@holdfast/connection";
import type { Logger } from "@holdfast/kernel";
import type { InputOf, Leader, OutputOf, RequestDefinition } from "@holdfast/protocol/contract";
import type { NodeLinks } from "../caller/node-links.ts";
import { isTransient } from "../caller/transient.ts";
import { NotLeaderError } from "../errors.ts";
import { timeForOthersMs } from "./time-for-others.ts";

export interface GatePeersOptions {
  readonly links: NodeLinks;
  readonly logger: Logger;
  readonly self: { readonly nodeId: string; readonly address: string };
}

const ASK_MAX_MS = 5_000;

/** Passes requests on to the gate that leads a job, so that clients need to reach one gate only. */
export class GatePeers {
  readonly #options: GatePeersOptions;

  constructor(options: GatePeersOptions) {
    this.#options = options;
  }

  /**
   * The answer of the leading gate; undefined when it cannot be reached, or is about to be someone else.
   * @throws NotLeaderError to another gate that asks: a request is passed on once; else the leader's final refusal.
   */
  async ask<D extends RequestDefinition>(
    leader: Leader,
    definition: D,
    input: InputOf<D>,
    context: RequestContext,
  ): Promise<OutputOf<D> | undefined> {
    const { links, self, logger } = this.#options;
    if (context.peer.remote.role === "gate") throw new NotLeaderError("the job", leader);
    if (leader.address === "" || leader.address === self.address) return undefined;
    try {
      const peer = await links.get(leader.address, { signal: context.signal });
      const timeoutMs = timeForOthersMs(context, { maxMs: ASK_MAX_MS });
      return await peer.request(definition, input, { timeoutMs, signal: context.signal });
    } catch (error) {
      context.signal.throwIfAborted();
      if (!isTransient(error)) throw error;
      logger.debug({ err: error, leader: leader.nodeId }, "the gate that leads a job does not answer");
      return undefined;
    }
  }
}
