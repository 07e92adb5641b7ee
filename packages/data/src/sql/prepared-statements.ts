/**
 * Which statements one session has prepared, by their text, the least recently used given up first.
 *
 * A text gets a name at its second use only: texts that are made up on the fly (an IN list of changing length)
 * would otherwise push out the ones that come back.
 */
export class PreparedStatements {
  readonly #maxCount: number;
  readonly #names = new Map<string, string>();
  readonly #seenOnce = new Set<string>();
  readonly #givenUp: string[] = [];
  #counter = 0;

  /** @param maxCount Most prepared statements kept, at least 0 (none is ever prepared). */
  constructor(maxCount: number) {
    this.#maxCount = maxCount;
  }

  /** The name under which `text` is prepared (or is to be, when `isNew`); undefined when it should run unnamed. */
  nameFor(text: string): { readonly name: string; readonly isNew: boolean } | undefined {
    const known = this.#names.get(text);
    if (known !== undefined) {
      // The order of use matters only when something will soon have to go, and keeping it is not free.
      if (this.#names.size > this.#maxCount / 2) {
        this.#names.delete(text);
        this.#names.set(text, known);
      }
      return { name: known, isNew: false };
    }
    if (this.#maxCount === 0) return undefined;
    if (!this.#seenOnce.delete(text)) {
      if (this.#seenOnce.size >= this.#maxCount) this.#seenOnce.clear();
      this.#seenOnce.add(text);
      return undefined;
    }
    if (this.#names.size >= this.#maxCount) {
      const [oldest] = this.#names.keys();
      if (oldest !== undefined) this.forget(oldest);
    }
    this.#counter += 1;
    const name = `holdfast_${this.#counter}`;
    this.#names.set(text, name);
    return { name, isNew: true };
  }

  /** Gives `text` up: it failed to parse, or the tables behind it changed. */
  forget(text: string): void {
    const name = this.#names.get(text);
    if (name === undefined) return;
    this.#names.delete(text);
    this.#givenUp.push(name);
  }

  /** The names given up since the last call, to be closed on the server. */
  takeGivenUp(): readonly string[] {
    return this.#givenUp.splice(0);
  }
}
