import type { Violation } from "./violation.ts";

export interface StateHistory {
  /** Names the namespace in violations. */
  readonly namespace: string;
  /** What the store has at the end, values as JSON text. */
  readonly stored: ReadonlyMap<string, string>;
  /** What each replica shows once it has followed up to the store's position. */
  readonly replicas: ReadonlyMap<string, ReadonlyMap<string, string>>;
  /** For each counter the sum of what was answered, and of what was sent; only positive amounts. */
  readonly counters: ReadonlyMap<string, { readonly answered: number; readonly sent: number }>;
}

/** All replicas show what the store has, and no answered increment is lost, none counted twice. */
export const checkStateHistory = (history: StateHistory): readonly Violation[] => {
  const { namespace, stored, replicas, counters } = history;
  const violations: Violation[] = [];
  for (const [replica, shown] of replicas) {
    for (const key of new Set([...stored.keys(), ...shown.keys()])) {
      if (stored.get(key) === shown.get(key)) continue;
      violations.push({
        invariant: "replicas converge",
        detail: `${namespace}/${key}: the store has ${stored.get(key)}, ${replica} shows ${shown.get(key)}`,
      });
    }
  }
  for (const [key, { answered, sent }] of counters) {
    const value = Number(stored.get(key) ?? 0);
    if (value >= answered && value <= sent) continue;
    violations.push({
      invariant: "increments add up",
      detail: `${namespace}/${key} is ${value}; answered were ${answered}, sent ${sent}`,
    });
  }
  return violations;
};
