import type { Json } from "@holdfast/coordination";
import type { SqlExecutor } from "@holdfast/coordination/postgres";
import type { EffectRequest, EffectRunner, WorkerDatabase } from "@holdfast/jobs/worker";
import { HoldfastError, Mutex } from "@holdfast/kernel";

/** A newer attempt of the shard has written already. */
export class StaleEffectError extends HoldfastError {
  override readonly name = "StaleEffectError";
  readonly code = "DATA_STALE_FENCE";
}

interface Scope {
  readonly turn: Mutex;
  fence: bigint;
  readonly results: Map<string, Json>;
}

/**
 * Where the effects of a simulated datacenter land: keeps the rule of the real ones (one transaction with
 * fence, effect and result) in memory, and counts what was done, so that a run can be checked afterwards.
 */
export class Ledger implements EffectRunner {
  readonly #scopes = new Map<string, Scope>();
  /** How often each effect was really done, by scope and name. */
  readonly doneCount = new Map<string, number>();
  refusedCount = 0;

  get database(): WorkerDatabase {
    return { sql: noSql, effects: this };
  }

  async run<T extends Json>(request: EffectRequest, body: (tx: SqlExecutor) => Promise<T>): Promise<T> {
    const scope = this.#scope(request.scope);
    return scope.turn.run(async () => {
      if (request.fence < scope.fence) {
        this.refusedCount += 1;
        throw new StaleEffectError(`fence ${request.fence} of ${request.scope} is older than ${scope.fence}`);
      }
      scope.fence = request.fence;
      const known = scope.results.get(request.name);
      if (known !== undefined) return known as T;
      const result = await body(noSql);
      scope.results.set(request.name, result);
      const key = `${request.scope} ${request.name}`;
      this.doneCount.set(key, (this.doneCount.get(key) ?? 0) + 1);
      return result;
    });
  }

  /** Effects done in the shards whose scope starts with `prefix`. */
  countFor(prefix: string): number {
    let count = 0;
    for (const [key, done] of this.doneCount) if (key.startsWith(prefix)) count += done;
    return count;
  }

  #scope(name: string): Scope {
    let scope = this.#scopes.get(name);
    if (scope === undefined) {
      scope = { turn: new Mutex(), fence: 0n, results: new Map() };
      this.#scopes.set(name, scope);
    }
    return scope;
  }
}

const noSql: SqlExecutor = {
  query: () => Promise.reject(new Error("simulated workers have effects, but no SQL")),
};
