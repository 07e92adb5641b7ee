import { checkCount, checkMs } from "../../model/option-checks.ts";
import type { Mutators, OptimisticStoreOptions } from "./mutation.ts";

type Limits = Pick<OptimisticStoreOptions<Mutators>, "pendingMaxCount" | "settleWithinMs" | "tabTtlMs">;

/** The limits of a store, with their defaults. @throws InvalidInputError naming the option that is out of range. */
export const storeLimitsOf = (options: Limits): Required<Limits> => ({
  pendingMaxCount: checkCount("optimisticStore.pendingMaxCount", options.pendingMaxCount ?? 1_000, 1),
  settleWithinMs: checkMs("optimisticStore.settleWithinMs", options.settleWithinMs ?? 5_000, 0),
  tabTtlMs: checkMs("optimisticStore.tabTtlMs", options.tabTtlMs ?? 30_000, 0),
});
