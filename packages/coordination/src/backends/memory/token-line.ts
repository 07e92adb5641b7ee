/** The one line of fence tokens of a store. A rolled back transaction gives none back. */
export class TokenLine {
  #last = 0n;

  next(): bigint {
    this.#last += 1n;
    return this.#last;
  }
}
