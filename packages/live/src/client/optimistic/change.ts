import { type QueryKey, startsWith } from "./query-key.ts";

/** What a mutation does to the values under a key, as a function over each of them. */
export interface ValueChange {
  /** Every value whose key starts with this one: `["order"]` means all lists and details of orders. */
  readonly key: QueryKey;
  /**
   * The value as it is after the mutation; the same object when it is not concerned. Must be pure, and do nothing
   * to a value that has the effect already. `undefined` is a value that is not there: only the very key of the change
   * is asked for one.
   */
  readonly apply: (value: unknown, key: QueryKey) => unknown;
  readonly row?: undefined;
}

/**
 * What a mutation does to one row, wherever it is: in every list under the key, and as the detail whose key ends with
 * the row's id. However many of these are pending, a list is gone through once.
 */
export interface RowChange {
  readonly key: QueryKey;
  /** The id of the row. */
  readonly row: string;
  /** Where a row has its id. Default: its `id`. */
  readonly idOf?: (row: unknown) => unknown;
  /**
   * The row as it is after the mutation. Given undefined where a list does not have it: what comes back is put at its
   * end. Returns undefined for a row that is not there any more. Must be pure, and do nothing to a row that has the
   * effect already.
   */
  readonly apply: (row: unknown, key: QueryKey) => unknown;
}

export type Change = ValueChange | RowChange;

/** The value under `slotKey` with the changes that concern it, in order. The same object when none does. */
export const applyAll = (before: unknown, slotKey: QueryKey, changes: readonly Change[]): unknown => {
  let value = before;
  let rows: RowChange[] = [];
  const flush = (): void => {
    if (rows.length > 0 && Array.isArray(value)) value = applyToRows(value, slotKey, rows);
    rows = [];
  };
  for (const change of changes) {
    if (!startsWith(slotKey, change.key)) continue;
    if (change.row === undefined) {
      flush();
      if (value !== undefined || slotKey.length === change.key.length) value = change.apply(value, slotKey);
    } else if (Array.isArray(value)) rows.push(change);
    else if (value !== undefined && slotKey.at(-1) === change.row) value = change.apply(value, slotKey);
  }
  flush();
  return value;
};

const ownId = (row: unknown): unknown => (row as { readonly id?: unknown } | null)?.id;

const applyToRows = (
  list: readonly unknown[],
  key: QueryKey,
  changes: readonly RowChange[],
): readonly unknown[] => {
  const idOf = changes[0]?.idOf ?? ownId;
  if (changes.some((change) => (change.idOf ?? ownId) !== idOf)) {
    // Rows that are told apart in different ways cannot be found in one pass.
    return changes.reduce<readonly unknown[]>((rows, change) => applyToRows(rows, key, [change]), list);
  }
  const byRow = new Map<unknown, RowChange[]>();
  for (const change of changes) {
    const known = byRow.get(change.row);
    if (known === undefined) byRow.set(change.row, [change]);
    else known.push(change);
  }
  let result: unknown[] | undefined;
  for (let index = 0; index < list.length; index += 1) {
    const row = list[index];
    const id = idOf(row);
    const own = byRow.get(id);
    if (own === undefined) {
      result?.push(row);
      continue;
    }
    byRow.delete(id);
    const after = inOrder(row, key, own);
    if (after === row) result?.push(row);
    else {
      result ??= list.slice(0, index);
      if (after !== undefined) result.push(after);
    }
  }
  // In the order of the first change that speaks of them.
  for (const own of byRow.values()) {
    const after = inOrder(undefined, key, own);
    if (after === undefined) continue;
    result ??= [...list];
    result.push(after);
  }
  return result ?? list;
};

const inOrder = (row: unknown, key: QueryKey, changes: readonly RowChange[]): unknown => {
  let value = row;
  for (const { apply } of changes) value = apply(value, key);
  return value;
};
