import { applyAll, type Change } from "./change.ts";
import { hashOf, type QueryKey, startsWith } from "./query-key.ts";

interface Pending {
  readonly id: string;
  changes: readonly Change[];
  /** True once nothing can take it back; it leaves the log when all before it that it overlaps with have left. */
  isConfirmed: boolean;
  /** Keys whose base has the effect already. */
  readonly contained: Set<string>;
}

interface Slot {
  readonly key: QueryKey;
  hasBase: boolean;
  base: unknown;
  /** Base with everything pending applied; undefined when it must be worked out again. */
  shown: { readonly value: unknown } | undefined;
}

/**
 * Confirmed values with the pending changes of this user drawn over them: shown value = base, then every pending
 * mutation in order. Taking one back is leaving it out, so nothing that came meanwhile is lost, and a refetch
 * replaces the base below the changes that it does not have yet, so nothing flickers.
 *
 * After Replicache's rebase; ours keeps the mutations of one mutator call as functions over any cached value.
 * Appending and confirming in order cost one `apply`; taking back and a new base apply what is pending again, the
 * changes of rows in one pass over each list.
 */
export class OverlayLog {
  readonly #slots = new Map<string, Slot>();
  #pending: Pending[] = [];
  readonly #onChanged: (key: QueryKey) => void;

  /** @param onChanged is called for every key whose shown value may have changed. */
  constructor(onChanged: (key: QueryKey) => void) {
    this.#onChanged = onChanged;
  }

  get pendingCount(): number {
    return this.#pending.length;
  }

  /** The value to show, or undefined when there is none. The same object until it changes. */
  value(key: QueryKey): unknown {
    const slot = this.#slotOf(key);
    slot.shown ??= { value: this.#draw(slot) };
    return slot.shown.value;
  }

  /** Sets what is confirmed. `contains`: mutations whose effect is in the value. */
  setBase(key: QueryKey, value: unknown, contains: readonly string[] = []): void {
    const slot = this.#slotOf(key);
    slot.base = value;
    slot.hasBase = true;
    const hash = hashOf(key);
    if (contains.length > 0) {
      const ids = new Set(contains);
      for (const pending of this.#pending) if (ids.has(pending.id)) pending.contained.add(hash);
    }
    this.#redraw(slot);
    this.#leave();
  }

  /** Forgets a key, unless something pending concerns it. */
  forget(key: QueryKey): void {
    const isPending = this.#pending.some(({ changes }) =>
      changes.some((change) => startsWith(key, change.key)),
    );
    if (!isPending) this.#slots.delete(hashOf(key));
  }

  append(id: string, changes: readonly Change[]): void {
    const pending: Pending = { id, changes, isConfirmed: false, contained: new Set() };
    this.#pending.push(pending);
    for (const slot of this.#touched(changes)) {
      if (slot.shown !== undefined) slot.shown = { value: applyAll(slot.shown.value, slot.key, changes) };
      this.#onChanged(slot.key);
    }
  }

  /** Replaces what a mutation does, in its place: the server's answer instead of our guess. */
  replace(id: string, changes: readonly Change[]): void {
    const pending = this.#pending.find((each) => each.id === id);
    if (pending === undefined) return;
    const before = pending.changes;
    pending.changes = changes;
    for (const slot of new Set([...this.#touched(before), ...this.#touched(changes)])) this.#redraw(slot);
  }

  /** Takes a mutation back. Every other one stays. */
  remove(id: string): void {
    const pending = this.#pending.find((each) => each.id === id);
    if (pending === undefined) return;
    this.#pending = this.#pending.filter((each) => each !== pending);
    for (const slot of this.#touched(pending.changes)) this.#redraw(slot);
    this.#leave();
  }

  /** Nothing can take the mutation back any more: its effect becomes part of the base, in order. */
  confirm(id: string): void {
    const pending = this.#pending.find((each) => each.id === id);
    if (pending === undefined) return;
    pending.isConfirmed = true;
    this.#leave();
  }

  /** The keys with a base that a mutation concerns and that do not contain it yet. */
  openKeys(id: string): readonly QueryKey[] {
    const pending = this.#pending.find((each) => each.id === id);
    if (pending === undefined) return [];
    return this.#touched(pending.changes)
      .filter((slot) => slot.hasBase && !pending.contained.has(hashOf(slot.key)))
      .map((slot) => slot.key);
  }

  /** Folds what is confirmed into the base, as long as nothing unconfirmed before it touches the same keys. */
  #leave(): void {
    if (!this.#pending.some(({ isConfirmed }) => isConfirmed)) return;
    const staying: Pending[] = [];
    for (const pending of this.#pending) {
      const mustStay =
        !pending.isConfirmed || staying.some((earlier) => overlaps(earlier.changes, pending.changes));
      if (mustStay) {
        staying.push(pending);
        continue;
      }
      for (const slot of this.#touched(pending.changes)) this.#fold(slot, pending);
    }
    this.#pending = staying;
  }

  /** Drawn over the base or part of it: what is shown is the same, so it is not drawn again. */
  #fold(slot: Slot, pending: Pending): void {
    if (pending.contained.has(hashOf(slot.key))) return;
    const value = applyAll(slot.base, slot.key, pending.changes);
    if (slot.hasBase || value !== undefined) {
      slot.base = value;
      slot.hasBase = true;
    }
  }

  #draw(slot: Slot): unknown {
    const hash = hashOf(slot.key);
    const changes: Change[] = [];
    for (const pending of this.#pending) if (!pending.contained.has(hash)) changes.push(...pending.changes);
    return applyAll(slot.base, slot.key, changes);
  }

  #redraw(slot: Slot): void {
    slot.shown = undefined;
    this.#onChanged(slot.key);
  }

  #touched(changes: readonly Change[]): readonly Slot[] {
    // The very key of a change may come into being by it.
    for (const { key } of changes) this.#slotOf(key);
    return [...this.#slots.values()].filter((slot) => changes.some(({ key }) => startsWith(slot.key, key)));
  }

  #slotOf(key: QueryKey): Slot {
    const hash = hashOf(key);
    let slot = this.#slots.get(hash);
    if (slot === undefined) {
      slot = { key, hasBase: false, base: undefined, shown: undefined };
      this.#slots.set(hash, slot);
    }
    return slot;
  }
}

const overlaps = (a: readonly Change[], b: readonly Change[]): boolean =>
  a.some((one) => b.some((other) => startsWith(one.key, other.key) || startsWith(other.key, one.key)));
