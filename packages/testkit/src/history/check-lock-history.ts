import type { Violation } from "./violation.ts";

/** One write that the protected resource took: it read `value - 1` before, under the same token. */
export interface FencedWrite {
  readonly resource: string;
  readonly token: bigint;
  readonly holder: string;
  readonly value: number;
}

/**
 * What must hold at the resource, whatever happened to holders and stores: each write builds on the one before it
 * (none is lost, none stands on an old value), tokens never fall, and one token belongs to one holder.
 */
export const checkLockHistory = (writes: readonly FencedWrite[]): readonly Violation[] => {
  const violations: Violation[] = [];
  const report = (invariant: string, write: FencedWrite, detail: string): void => {
    violations.push({
      invariant,
      detail: `${write.resource}, value ${write.value}, token ${write.token} of ${write.holder}: ${detail}`,
    });
  };
  const ofResource = new Map<string, FencedWrite[]>();
  const holderOf = new Map<bigint, string>();
  for (const write of writes) {
    ofResource.set(write.resource, [...(ofResource.get(write.resource) ?? []), write]);
    const holder = holderOf.get(write.token) ?? write.holder;
    if (holder !== write.holder) report("one holder per token", write, `also held by ${holder}`);
    holderOf.set(write.token, holder);
  }
  for (const list of ofResource.values()) {
    let before: FencedWrite | undefined;
    for (const write of [...list].sort((a, b) => a.value - b.value)) {
      const expected = (before?.value ?? 0) + 1;
      if (write.value !== expected) report("no lost update", write, `expected value ${expected}`);
      if (before !== undefined && write.token < before.token) {
        report("tokens never fall", write, `after token ${before.token} of ${before.holder}`);
      }
      before = write;
    }
  }
  return violations;
};
