import type { RenewOutcome, TaskQueue, TaskRef } from "@holdfast/coordination";
import { Batcher } from "@holdfast/kernel";
import { isGrantable } from "./grantable-claim.ts";

/** Claims renewed in one statement. */
const BATCH_MAX_WEIGHT = 10_000;
const PENDING_MAX_COUNT = 10_000;

/** Renews claims of many workers in one round trip to the store. */
export class Renewals {
  readonly #batcher: Batcher<readonly TaskRef[], readonly RenewOutcome[]>;

  constructor(options: { readonly queue: TaskQueue<unknown>; readonly leaseMs: number }) {
    this.#batcher = new Batcher<readonly TaskRef[], readonly RenewOutcome[]>({
      name: "claim renewals",
      batchMaxCount: 1_000,
      batchMaxWeight: BATCH_MAX_WEIGHT,
      weigh: (refs) => refs.length,
      pendingMaxCount: PENDING_MAX_COUNT,
      run: async (requests) => {
        // A worker that repeats a request must not hear "lost" of a claim that the first one renewed.
        const refs = new Map(requests.flat().map((ref) => [keyOf(ref), ref]));
        const outcomes = await options.queue.renew([...refs.values()], { leaseMs: options.leaseMs });
        const outcomeOf = new Map([...refs.keys()].map((key, index) => [key, outcomes[index] ?? "lost"]));
        return requests.map((own) => own.map((ref) => outcomeOf.get(keyOf(ref)) ?? "lost"));
      },
    });
  }

  /** One outcome per claim, in order. @throws OverloadedError, and what the store throws. */
  async renew(refs: readonly TaskRef[]): Promise<readonly RenewOutcome[]> {
    const grantable = refs.filter(isGrantable);
    const outcomes = grantable.length === 0 ? [] : await this.#batcher.add(grantable);
    if (grantable.length === refs.length) return outcomes;
    const outcomeOf = new Map(grantable.map((ref, index) => [ref, outcomes[index] ?? "lost"]));
    return refs.map((ref) => outcomeOf.get(ref) ?? "lost");
  }

  close(): Promise<void> {
    return this.#batcher.close();
  }
}

const keyOf = ({ id, token }: TaskRef): string => `${token}/${id}`;
