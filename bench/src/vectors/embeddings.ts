const numbers = (seed: number): (() => number) => {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
};

/** The vectors of a model lie near a surface of far fewer dimensions than they have. */
const TOPIC_COUNT = 32;

/**
 * Vectors of length 1 that behave in an index as embeddings do: mixtures of a few topics with some noise. The same
 * ones each time.
 */
export const embeddings = (count: number, dimensions: number, seed = 1): readonly Float32Array[] => {
  const next = numbers(seed);
  const gaussian = (): number => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
  const topicSource = numbers(7);
  const topicGaussian = (): number =>
    Math.sqrt(-2 * Math.log(1 - topicSource())) * Math.cos(2 * Math.PI * topicSource());
  const topics = Array.from({ length: TOPIC_COUNT }, () =>
    Float32Array.from({ length: dimensions }, topicGaussian),
  );
  return Array.from({ length: count }, () => {
    const vector = new Float32Array(dimensions);
    for (const topic of topics) {
      const weight = gaussian();
      for (let index = 0; index < dimensions; index += 1) {
        vector[index] = (vector[index] as number) + weight * (topic[index] as number);
      }
    }
    let sum = 0;
    for (let index = 0; index < dimensions; index += 1) {
      const value = (vector[index] as number) + 0.5 * (next() - 0.5);
      vector[index] = value;
      sum += value * value;
    }
    const length = Math.sqrt(sum);
    return vector.map((value) => value / length);
  });
};
