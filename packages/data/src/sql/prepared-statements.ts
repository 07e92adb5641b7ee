/** A text that a session has prepared. */
export interface PreparedStatement<Shape> {
  readonly name: string;
  /** What was learnt of its results; undefined until it has run once. */
  shape: Shape | undefined;
}

/**
 * Which statements one session has prepared, by their text, the least recently used given up first.
 *
 * A text gets a name at its second use only: texts that are made up on the fly (an IN list of changing length)
 * would otherwise push out the ones that come back.
 */
export class PreparedStatements<Shape = never> {
  readonly #maxCount: number;
  readonly #known = new Map<string, PreparedStatement<Shape>>();
  readonly #seenOnce = new Set<string>();
  readonly #givenUp: string[] = [];
  #counter = 0;

  /** @param maxCount Most prepared statements kept, at least 0 (none is ever prepared). */
  constructor(maxCount: number) {
    this.#maxCount = maxCount;
  }

  /** What is known of `text`; undefined when it is not prepared. */
  find(text: string): PreparedStatement<Shape> | undefined {
    const known = this.#known.get(text);
    // The order of use matters only when something will soon have to go, and keeping it is not free.
    if (known !== undefined && this.#known.size > this.#maxCount / 2) {
      this.#known.delete(text);
      this.#known.set(text, known);
    }
    return known;
  }

  /** The name under which `text` is prepared (or is to be, when `isNew`); undefined when it should run unnamed. */
  nameFor(text: string): { readonly name: string; readonly isNew: boolean } | undefined {
    const known = this.find(text);
    if (known !== undefined) return { name: known.name, isNew: false };
    if (this.#maxCount === 0) return undefined;
    if (!this.#seenOnce.delete(text)) {
      if (this.#seenOnce.size >= this.#maxCount) this.#seenOnce.clear();
      this.#seenOnce.add(text);
      return undefined;
    }
    if (this.#known.size >= this.#maxCount) {
      const [oldest] = this.#known.keys();
      if (oldest !== undefined) this.forget(oldest);
    }
    this.#counter += 1;
    const name = `holdfast_${this.#counter}`;
    this.#known.set(text, { name, shape: undefined });
    return { name, isNew: true };
  }

  /** Keeps what a run of `text` under `name` told of its results. */
  learn(text: string, name: string, shape: Shape): void {
    const known = this.#known.get(text);
    if (known?.name === name) known.shape = shape;
  }

  /** Gives `text` up: it failed to parse, or the tables behind it changed. */
  forget(text: string): void {
    const known = this.#known.get(text);
    if (known === undefined) return;
    this.#known.delete(text);
    this.#givenUp.push(known.name);
  }

  /** The names given up since the last call, to be closed on the server. */
  takeGivenUp(): readonly string[] {
    return this.#givenUp.splice(0);
  }
}
