import { checkCount, checkMs } from "../../model/option-checks.ts";
import type { Mutators, OptimisticStoreOptions } from "./mutation.ts";

/** @throws InvalidInputError naming the option that is out of range. */
export const checkStoreOptions = (
  options: Pick<OptimisticStoreOptions<Mutators>, "pendingMaxCount" | "settleWithinMs" | "tabTtlMs">,
): void => {
  checkCount("optimisticStore.pendingMaxCount", options.pendingMaxCount ?? 1_000, 1);
  checkMs("optimisticStore.settleWithinMs", options.settleWithinMs ?? 5_000, 0);
  checkMs("optimisticStore.tabTtlMs", options.tabTtlMs ?? 30_000, 0);
};
