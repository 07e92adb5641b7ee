import type { CacheSession } from "./cache-options.ts";

/** More sessions that write at once than this ask the shared store a little more often. */
const SEEN_MAX_COUNT = 10_000;

/**
 * When this process first met what a session has written. Copies that are as up to date as that are new enough for
 * the session, because its write was told to the store before the session came here.
 */
export class SeenPositions {
  readonly #seen = new Map<bigint, { readonly epoch: bigint; readonly at: number }>();

  /** The instant of the first meeting: `now` the first time. */
  seenAt({ epoch, position }: CacheSession, now: number): number {
    const found = this.#seen.get(position);
    if (found?.epoch === epoch) return found.at;
    this.#seen.set(position, { epoch, at: now });
    if (this.#seen.size > SEEN_MAX_COUNT) {
      const [oldest] = this.#seen.keys();
      if (oldest !== undefined) this.#seen.delete(oldest);
    }
    return now;
  }
}
