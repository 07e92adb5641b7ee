import type { RedisSession, RedisSessions } from "./redis-session.ts";
import type { Lookup, StoredEntry } from "./shared-store.ts";
import { readStored } from "./stored-text.ts";

/** Matches no entry: none begins like this. */
const NOTHING = "\n";

/**
 * Reads by one MGET: generation, entries and tags of one moment, because a command is atomic. (A script would do the
 * same, and several times slower.)
 */
export const readEntries = async (
  sessions: RedisSessions,
  lookups: readonly Lookup[],
): Promise<readonly (StoredEntry | undefined)[]> => {
  const first = sessions.current ?? (await sessions.ready("read"));
  const entries = await readOnce(sessions, first, lookups);
  if (entries !== undefined) return entries;
  sessions.outdated(first);
  const second = await sessions.ready("read");
  return (await readOnce(sessions, second, lookups)) ?? lookups.map(() => undefined);
};

/** Undefined when the session's generation is over. */
const readOnce = async (
  sessions: RedisSessions,
  session: RedisSession,
  lookups: readonly Lookup[],
): Promise<readonly (StoredEntry | undefined)[] | undefined> => {
  const { keys } = sessions;
  const args = ["MGET", keys.generation];
  for (const { key, tags } of lookups) {
    args.push(keys.entry(key));
    for (const tag of tags) args.push(keys.tag(tag));
  }
  let texts: readonly (string | null)[];
  try {
    texts = (await session.link.command(args)) as readonly (string | null)[];
  } catch (error) {
    throw sessions.failure("read", session, error);
  }
  if (texts[0] !== session.generation) return undefined;
  const serverNow = sessions.serverNow(session);
  const untagged = `${session.generation} - `;
  let at = 1;
  return lookups.map(({ tags }) => {
    const text = texts[at];
    at += 1;
    if (tags.length === 0) return readStored(text, untagged, serverNow);
    const stamps = texts.slice(at, at + tags.length);
    at += tags.length;
    // A tag without a stamp was invalidated or evicted: nobody's entry is valid then.
    const head = stamps.includes(null) ? NOTHING : `${session.generation} ${stamps.join(",")} `;
    return readStored(text, head, serverNow);
  });
};
