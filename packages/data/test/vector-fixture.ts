/** Numbers that look random and are the same each time. */
export const numbers = (seed: number): (() => number) => {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
};

const gaussian = (next: () => number): number =>
  Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());

/** Vectors in clusters, as embeddings are, each of length 1. */
export const clusteredVectors = (
  count: number,
  dimensions: number,
  options: { readonly seed?: number; readonly clusterCount?: number } = {},
): readonly Float32Array[] => {
  const next = numbers(options.seed ?? 1);
  const centres = Array.from({ length: options.clusterCount ?? 50 }, () =>
    Float32Array.from({ length: dimensions }, () => gaussian(next)),
  );
  return Array.from({ length: count }, () => {
    const centre = centres[Math.floor(next() * centres.length)] as Float32Array;
    const vector = centre.map((value) => value + 0.5 * gaussian(next));
    const length = Math.hypot(...vector);
    return vector.map((value) => value / length);
  });
};
