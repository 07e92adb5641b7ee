import { hasCode, isHoldfastError, keepNewest } from "@holdfast/kernel";
import { type JobSpec, submitJob } from "@holdfast/protocol/contract";
import type { z } from "zod";
import { isUnreachable } from "../caller/transient.ts";
import { NodeNotReadyError } from "../errors.ts";
import { payloadName } from "../model/payload-hash.ts";
import type { Datacenter } from "./datacenter.ts";

const CACHE_MAX_COUNT = 1_000;
const CACHE_MS = 30_000;
/** Longest wait for the judgement of a datacenter. */
const VALIDATE_MS = 5_000;

/**
 * Asks datacenters whether they would take a job: are its workflows registered, do their inputs fit? An input
 * that was found good is not asked about again for 30 s, as long as the datacenter has the same workers.
 */
export class InputValidation {
  /** When each judgement ends, by what was judged; least recently made first. */
  readonly #good = new Map<string, number>();

  /**
   * @throws UnknownWorkflowError, InvalidWorkflowInputError (as the workers say it); NodeNotReadyError when nobody
   * can say; retryable.
   */
  async check(
    submission: z.output<typeof submitJob.input>,
    datacenter: Datacenter,
    options: { readonly now: number },
  ): Promise<void> {
    const keys = inputKeys(submission.spec, datacenter);
    if (keys.every((key) => (this.#good.get(key) ?? 0) > options.now)) return;
    const { gate: _gate, follow: _follow, ...request } = submission;
    try {
      await datacenter.caller.ask(submitJob, { ...request, dryRun: true }, { deadlineMs: VALIDATE_MS });
    } catch (error) {
      if (!isUnreachable(error) && !hasCode(error, "KERNEL_TIMEOUT")) throw error;
      throw new NodeNotReadyError(datacenter.name, "none of its managers answers", {
        cause: error,
        retryAfterMs: (isHoldfastError(error) ? error.retryAfterMs : undefined) ?? 500,
      });
    }
    for (const key of keys) this.#remember(key, options.now + CACHE_MS);
  }

  #remember(key: string, until: number): void {
    this.#good.delete(key);
    this.#good.set(key, until);
    keepNewest(this.#good, CACHE_MAX_COUNT);
  }
}

const inputKeys = (spec: JobSpec, datacenter: Datacenter): readonly string[] =>
  spec.workflows.map(
    ({ workflow, input, shards, maxAttempts, timeoutMs }) =>
      `${datacenter.name}\n${datacenter.catalogKey}\n${payloadName([workflow, input, shards, maxAttempts, timeoutMs])}`,
  );
