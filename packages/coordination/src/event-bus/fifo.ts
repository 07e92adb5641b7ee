const EMPTY_SLOTS_MAX = 1024;

/** First in, first out, in constant time. */
export class Fifo<T> {
  #items: (T | undefined)[] = [];
  #head = 0;

  get size(): number {
    return this.#items.length - this.#head;
  }

  push(item: T): void {
    this.#items.push(item);
  }

  peek(): T | undefined {
    return this.#items[this.#head];
  }

  shift(): T | undefined {
    if (this.#head === this.#items.length) return undefined;
    const item = this.#items[this.#head];
    this.#items[this.#head] = undefined;
    this.#head += 1;
    if (this.#head === this.#items.length) {
      this.#items.length = 0;
      this.#head = 0;
    } else if (this.#head > EMPTY_SLOTS_MAX && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }

  /** Takes the oldest item that `isWanted`, which costs a walk. */
  takeFirst(isWanted: (item: T) => boolean): T | undefined {
    for (let index = this.#head; index < this.#items.length; index += 1) {
      const item = this.#items[index] as T;
      if (!isWanted(item)) continue;
      this.#items.splice(index, 1);
      return item;
    }
    return undefined;
  }

  /** Empties it and returns what was there, oldest first. */
  takeAll(): T[] {
    const items = this.#items.slice(this.#head) as T[];
    this.#items = [];
    this.#head = 0;
    return items;
  }
}
