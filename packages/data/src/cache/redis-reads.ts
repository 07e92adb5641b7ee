import type { RedisKeys } from "./redis-keys.ts";
import type { RedisSession, RedisSessions } from "./redis-session.ts";
import type { Lookup, StoredEntry } from "./shared-store.ts";
import { readStored } from "./stored-text.ts";

/** Reads of one command; more go into the next, behind it on the same connection. */
const BATCH_MAX_COUNT = 256;

interface Read {
  readonly lookup: Lookup;
  readonly resolve: (entry: StoredEntry | undefined) => void;
  readonly reject: (error: unknown) => void;
}

/** Matches no entry: none begins like this. */
const NOTHING = "\n";

/**
 * Reads of one tick go out as one MGET: generation, entries and tags of one moment, because a command is atomic.
 * (A script would do the same three times slower.)
 */
export class RedisReads {
  readonly #sessions: RedisSessions;
  readonly #keys: RedisKeys;
  #waiting: Read[] = [];

  constructor(sessions: RedisSessions) {
    this.#sessions = sessions;
    this.#keys = sessions.keys;
  }

  read(lookup: Lookup): Promise<StoredEntry | undefined> {
    return new Promise((resolve, reject) => {
      const count = this.#waiting.push({ lookup, resolve, reject });
      if (count === 1) queueMicrotask(() => this.#flush());
      else if (count === BATCH_MAX_COUNT) this.#flush();
    });
  }

  #flush(): void {
    const reads = this.#waiting;
    if (reads.length === 0) return;
    this.#waiting = [];
    const session = this.#sessions.current;
    if (session === undefined) this.#sendWhenReady(reads, true);
    else this.#send(session, reads, true);
  }

  #sendWhenReady(reads: readonly Read[], mayRetry: boolean): void {
    this.#sessions.ready("read").then(
      (session) => this.#send(session, reads, mayRetry),
      (error) => rejectAll(reads, error),
    );
  }

  #send(session: RedisSession, reads: readonly Read[], mayRetry: boolean): void {
    const args = ["MGET", this.#keys.generation];
    for (const { lookup } of reads) {
      args.push(this.#keys.entry(lookup.key));
      for (const tag of lookup.tags) args.push(this.#keys.tag(tag));
    }
    session.link.command(args).then(
      (reply) => {
        const texts = reply as readonly (string | null)[];
        if (texts[0] === session.generation) {
          this.#answer(session, reads, texts);
          return;
        }
        this.#sessions.outdated(session);
        if (mayRetry) this.#sendWhenReady(reads, false);
        else for (const { resolve } of reads) resolve(undefined);
      },
      (error) => rejectAll(reads, this.#sessions.failure("read", session, error)),
    );
  }

  #answer(session: RedisSession, reads: readonly Read[], texts: readonly (string | null)[]): void {
    const serverNow = this.#sessions.serverNow(session);
    const untagged = `${session.generation} - `;
    let at = 1;
    for (const { lookup, resolve } of reads) {
      const text = texts[at];
      at += 1;
      let head = untagged;
      if (lookup.tags.length > 0) {
        const stamps = texts.slice(at, at + lookup.tags.length);
        at += lookup.tags.length;
        // A tag without a stamp was invalidated or evicted: nobody's entry is valid then.
        head = stamps.includes(null) ? NOTHING : `${session.generation} ${stamps.join(",")} `;
      }
      resolve(readStored(text, head, serverNow));
    }
  }
}

const rejectAll = (reads: readonly Read[], error: unknown): void => {
  for (const { reject } of reads) reject(error);
};
