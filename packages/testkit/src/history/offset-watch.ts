import type { Violation } from "./violation.ts";

/** Watches what one reader sees of one stream: offsets 1 apart in each epoch, unless it is told of a loss. */
export class OffsetWatch {
  readonly #reader: string;
  readonly #violations: Violation[] = [];
  #last: { readonly epoch: bigint; readonly offset: bigint } | undefined;
  #count = 0;

  /** `last` is where the reader begins after; undefined takes the first entry as it comes. */
  constructor(reader: string, last?: { readonly epoch: bigint; readonly offset: bigint }) {
    this.#reader = reader;
    this.#last = last;
  }

  get violations(): readonly Violation[] {
    return this.#violations;
  }

  /** Entries seen. */
  get count(): number {
    return this.#count;
  }

  /** The reader was told that it lost its place; the next entry may be any. */
  reset(): void {
    this.#last = undefined;
  }

  saw(position: { readonly epoch: bigint; readonly offset: bigint }): void {
    const last = this.#last;
    this.#last = position;
    this.#count += 1;
    if (last === undefined) return;
    if (position.epoch !== last.epoch && last.offset > 0n) {
      this.#report("no silent change of epoch", position, last);
    } else if (position.offset !== last.offset + 1n) {
      this.#report(position.offset > last.offset ? "no gap" : "no repeat", position, last);
    }
  }

  #report(
    invariant: string,
    position: { readonly epoch: bigint; readonly offset: bigint },
    last: { readonly epoch: bigint; readonly offset: bigint },
  ): void {
    const at = `${position.epoch}/${position.offset}`;
    this.#violations.push({ invariant, detail: `${this.#reader}: ${at} after ${last.epoch}/${last.offset}` });
  }
}
