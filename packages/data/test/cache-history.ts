/** Instants are on one clock that all processes of the history share. */
export interface CacheHistory {
  readonly writes: {
    readonly key: string;
    /** Grows with each commit of the key. */
    readonly version: number;
    /** When the writer was told that nobody is served what was before; undefined when it was not told. */
    readonly toldAt: number | undefined;
  }[];
  readonly reads: {
    readonly key: string;
    readonly version: number;
    readonly askedAt: number;
    readonly answeredAt: number;
    readonly maxStalenessMs: number;
    /** What the reader's session has written of the key itself. */
    readonly ownVersion?: number;
  }[];
}

export interface StaleRead {
  readonly key: string;
  readonly version: number;
  readonly askedAt: number;
  /** The newest version whose writer had been told, so long before the read that it had to be seen. */
  readonly dueVersion: number;
  /** What was asked for. */
  readonly maxStalenessMs: number;
  readonly ownVersion: number;
}

/**
 * The guarantee, applied to a history: no read gives a version older than the newest one that was acknowledged
 * `maxStalenessMs` before the read began, nor than what its own session wrote.
 */
export const staleReads = ({ writes, reads }: CacheHistory): readonly StaleRead[] => {
  const told = new Map<string, { readonly at: number; readonly version: number }[]>();
  for (const { key, version, toldAt } of writes) {
    if (toldAt === undefined) continue;
    const list = told.get(key) ?? [];
    list.push({ at: toldAt, version });
    told.set(key, list);
  }
  // The newest version that had been told up to each instant, for a search by instant.
  for (const list of told.values()) {
    list.sort((a, b) => a.at - b.at);
    let newest = 0;
    list.forEach((entry, index) => {
      newest = Math.max(newest, entry.version);
      list[index] = { at: entry.at, version: newest };
    });
  }
  const found: StaleRead[] = [];
  for (const { key, version, askedAt, maxStalenessMs, ownVersion = 0 } of reads) {
    const list = told.get(key) ?? [];
    let [low, high] = [0, list.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((list[middle]?.at ?? 0) < askedAt - maxStalenessMs) low = middle + 1;
      else high = middle;
    }
    const dueVersion = Math.max(list[low - 1]?.version ?? 0, ownVersion);
    if (version < dueVersion) found.push({ key, version, askedAt, dueVersion, maxStalenessMs, ownVersion });
  }
  return found;
};
