/** Takes the oldest entries, by insertion, out of a map or set until it holds at most `maxCount`. */
export const keepNewest = <K>(collection: Map<K, unknown> | Set<K>, maxCount: number): void => {
  for (const oldest of collection.keys()) {
    if (collection.size <= maxCount) return;
    collection.delete(oldest);
  }
};
