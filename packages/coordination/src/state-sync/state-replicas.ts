import { ClosedError, InvalidInputError } from "@holdfast/kernel";
import { StateReplica, type StateReplicaOptions } from "./state-replica.ts";

/** One started replica per namespace. */
export class StateReplicas implements AsyncDisposable {
  readonly #options: Omit<StateReplicaOptions, "namespace" | "ttlMs">;
  readonly #replicas = new Map<
    string,
    { readonly replica: StateReplica; readonly ttlMs: number | undefined }
  >();
  #closed = false;

  constructor(options: Omit<StateReplicaOptions, "namespace" | "ttlMs">) {
    this.#options = options;
  }

  /**
   * The replica of this namespace, started; the same one each time, also for callers that come at the same time.
   * @throws InvalidInputError when it was opened with another `ttlMs` before.
   * @throws StoreUnavailableError when it cannot be started; the next call tries again.
   */
  async open(namespace: string, options: { readonly ttlMs?: number } = {}): Promise<StateReplica> {
    if (this.#closed) throw new ClosedError("the replicas");
    let known = this.#replicas.get(namespace);
    if (known === undefined) {
      known = {
        replica: new StateReplica({ ...this.#options, ...options, namespace }),
        ttlMs: options.ttlMs,
      };
      this.#replicas.set(namespace, known);
    } else if (options.ttlMs !== undefined && options.ttlMs !== known.ttlMs) {
      throw new InvalidInputError("ttlMs", options.ttlMs, `${known.ttlMs}, as ${namespace} was opened with`);
    }
    await known.replica.start();
    return known.replica;
  }

  /** The namespaces that were opened, by name. */
  get namespaces(): readonly string[] {
    return [...this.#replicas.keys()].sort();
  }

  /** Stops all of them. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#replicas.values()].map(({ replica }) => replica.stop()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
