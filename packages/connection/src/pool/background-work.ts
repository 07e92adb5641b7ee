/** Work that a pool began and that nobody waits for until the pool closes. It must not fail. */
export class BackgroundWork {
  readonly #running = new Set<Promise<void>>();

  add(work: Promise<void>): void {
    const tracked: Promise<void> = work.finally(() => this.#running.delete(tracked));
    this.#running.add(tracked);
  }

  /** Resolves when nothing runs any more, what was added meanwhile included. */
  async finished(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }
}
