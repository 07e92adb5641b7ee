/** One place in a {@link WaitingLine}. */
export interface Place<T> {
  readonly value: T;
  /** Leaves the line from wherever it stands. Idempotent; false when it was served or had left already. */
  leave(): boolean;
}

interface Node<T> extends Place<T> {
  previous: Node<T> | undefined;
  next: Node<T> | undefined;
  isQueued: boolean;
}

/** First come, first served, where any place can be given up at the cost of nothing. */
export class WaitingLine<T> {
  #head: Node<T> | undefined;
  #tail: Node<T> | undefined;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  join(value: T): Place<T> {
    const node: Node<T> = {
      value,
      previous: this.#tail,
      next: undefined,
      isQueued: true,
      leave: () => this.#remove(node),
    };
    if (this.#tail === undefined) this.#head = node;
    else this.#tail.next = node;
    this.#tail = node;
    this.#size += 1;
    return node;
  }

  /** Takes the one that has waited longest out of the line. */
  serve(): T | undefined {
    const node = this.#head;
    if (node === undefined) return undefined;
    this.#remove(node);
    return node.value;
  }

  #remove(node: Node<T>): boolean {
    if (!node.isQueued) return false;
    node.isQueued = false;
    this.#size -= 1;
    if (node.previous === undefined) this.#head = node.next;
    else node.previous.next = node.next;
    if (node.next === undefined) this.#tail = node.previous;
    else node.next.previous = node.previous;
    return true;
  }
}
