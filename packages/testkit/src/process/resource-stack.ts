/** Things to be undone in reverse order; also after a start that failed half-way. Node 20 has no AsyncDisposableStack. */
export class ResourceStack implements AsyncDisposable {
  readonly #undo: (() => PromiseLike<void> | void)[] = [];

  use<T extends AsyncDisposable | Disposable>(resource: T): T {
    this.#undo.push(() =>
      Symbol.asyncDispose in resource ? resource[Symbol.asyncDispose]() : resource[Symbol.dispose](),
    );
    return resource;
  }

  defer(undo: () => PromiseLike<void> | void): void {
    this.#undo.push(undo);
  }

  /** Undoes everything, whatever fails, then throws what failed. Idempotent. */
  async [Symbol.asyncDispose](): Promise<void> {
    const failures: unknown[] = [];
    for (let undo = this.#undo.pop(); undo; undo = this.#undo.pop()) {
      try {
        await undo();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length === 1) throw failures[0];
    if (failures.length > 1) throw new AggregateError(failures, "several resources could not be closed");
  }
}

/** Runs `build` with a stack; on failure what it took so far is undone before the error is passed on. */
export const building = async <T>(build: (stack: ResourceStack) => Promise<T>): Promise<T> => {
  const stack = new ResourceStack();
  try {
    return await build(stack);
  } catch (error) {
    await stack[Symbol.asyncDispose]().catch(() => undefined);
    throw error;
  }
};
