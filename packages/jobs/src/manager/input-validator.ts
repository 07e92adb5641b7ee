import { type Clock, keepNewest, type Random, randomInt } from "@holdfast/kernel";
import {
  VALIDATIONS_MAX_COUNT,
  type ValidateInputAnswer,
  validateInput,
  validateInputs,
} from "@holdfast/protocol/contract";
import { BundledRequests } from "../caller/bundled-requests.ts";
import { InvalidWorkflowInputError, NodeNotReadyError, UnknownWorkflowError } from "../errors.ts";
import { payloadName } from "../model/payload-hash.ts";
import { isWorkerFault, type KnownWorker, type WorkerRegistry } from "./worker-registry.ts";

export interface InputValidatorOptions {
  readonly nodeId: string;
  readonly registry: WorkerRegistry;
  readonly clock: Clock;
  readonly random: Random;
}

interface Cached {
  readonly answer: Promise<ValidateInputAnswer>;
  readonly version: number;
  readonly until: number;
}

/** A schema may depend on time or on a database: answers are not kept for long. */
const CACHE_MS = 30_000;
const CACHE_MAX_COUNT = 1_000;
const WORKERS_MAX_COUNT = 3;
const ANSWER_TIMEOUT_MS = 5_000;
const RETRY_AFTER_MS = 500;

/**
 * Asks a worker whether an input suits a workflow, since only workers have the code. Answers are shared and
 * kept for 30 s (the newest 1000), as long as the set of workers stays the same.
 */
export class InputValidator {
  readonly #options: InputValidatorOptions;
  /** Least recently used first. */
  readonly #cache = new Map<string, Cached>();
  readonly #questions = new BundledRequests({
    one: validateInput,
    many: validateInputs,
    maxCount: VALIDATIONS_MAX_COUNT,
    pack: (questions) => ({ questions: [...questions] }),
    unpack: ({ answers }) => answers.map(({ answer, refused }) => ({ value: answer, refused })),
  });

  constructor(options: InputValidatorOptions) {
    this.#options = options;
  }

  /**
   * @throws NodeNotReadyError when no worker is connected or none answers; retryable.
   * @throws UnknownWorkflowError, InvalidWorkflowInputError.
   */
  async validate(workflow: string, input: unknown): Promise<ValidateInputAnswer> {
    const answer = await this.#cached(workflow, input);
    if (answer.outcome === "unknown-workflow") throw new UnknownWorkflowError(workflow, answer.known);
    if (answer.outcome === "invalid") throw new InvalidWorkflowInputError(workflow, answer.issues);
    return answer;
  }

  #cached(workflow: string, input: unknown): Promise<ValidateInputAnswer> {
    const { registry, clock } = this.#options;
    const key = `${workflow}\n${payloadName(input)}`;
    const found = this.#cache.get(key);
    this.#cache.delete(key);
    if (found !== undefined && found.version === registry.version && found.until > clock.monotonicNow()) {
      this.#cache.set(key, found);
      return found.answer;
    }
    const answer = this.#ask(workflow, input);
    const entry = { answer, version: registry.version, until: clock.monotonicNow() + CACHE_MS };
    this.#cache.set(key, entry);
    keepNewest(this.#cache, CACHE_MAX_COUNT);
    answer.catch(() => {
      if (this.#cache.get(key) === entry) this.#cache.delete(key);
    });
    return answer;
  }

  async #ask(workflow: string, input: unknown): Promise<ValidateInputAnswer> {
    const { nodeId, registry } = this.#options;
    if (registry.size === 0) {
      throw new NodeNotReadyError(nodeId, "no worker is connected to it", { retryAfterMs: RETRY_AFTER_MS });
    }
    const candidates = this.#candidates(workflow);
    if (candidates.length === 0) {
      const known = registry.catalog().map(({ name }) => name);
      throw new UnknownWorkflowError(workflow, known);
    }
    let failure: unknown;
    for (const worker of candidates.slice(0, WORKERS_MAX_COUNT)) {
      try {
        const question = { workflow, input };
        return await this.#questions.ask(worker.peer, question, { timeoutMs: ANSWER_TIMEOUT_MS });
      } catch (error) {
        if (!isWorkerFault(error)) throw error;
        failure = error;
      }
    }
    throw new NodeNotReadyError(nodeId, `no worker answered whether the input suits ${workflow}`, {
      cause: failure,
      retryAfterMs: RETRY_AFTER_MS,
    });
  }

  /** Those that offer the workflow, from a random one on, healthy ones before others. */
  #candidates(workflow: string): readonly KnownWorker[] {
    const { registry, random } = this.#options;
    const offering = [...registry.values()].filter((worker) => worker.workflows.includes(workflow));
    if (offering.length < 2) return offering;
    const start = randomInt(random, offering.length);
    const turned = [...offering.slice(start), ...offering.slice(0, start)];
    const isHealthy = ({ registration }: KnownWorker): boolean => registration.state === "healthy";
    return [...turned.filter(isHealthy), ...turned.filter((worker) => !isHealthy(worker))];
  }
}
