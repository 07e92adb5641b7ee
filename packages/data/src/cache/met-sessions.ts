import type { CacheSession } from "./cache-options.ts";

interface Meeting {
  readonly epoch: bigint;
  readonly position: bigint;
  readonly at: number;
}

/**
 * When this process first met a session with what it has written so far. Copies that are as up to date as that are new
 * enough for it, because its write was told to the store before it came here.
 *
 * A session is known by its object, not by its position: another session may be at the same position, by a write whose
 * neighbour in the log is still on its way to the store, and may have come here before that was told.
 */
export class MetSessions {
  readonly #meetings = new WeakMap<CacheSession, Meeting>();

  /** The instant of the first meeting: `now` the first time, and whenever the session has another position. */
  metAt(session: CacheSession, now: number): number {
    const { epoch, position } = session;
    const known = this.#meetings.get(session);
    if (known?.position === position && known.epoch === epoch) return known.at;
    this.#meetings.set(session, { epoch, position, at: now });
    return now;
  }
}
