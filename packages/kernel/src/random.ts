/** Chance as an input: `next` is uniform in [0, 1). */
export interface Random {
  next(): number;
}

/** Not predictable by outsiders; from the platform's cryptographic source. */
export const systemRandom: Random = {
  next: () => {
    if (drawnCount === drawn.length) {
      crypto.getRandomValues(drawn);
      drawnCount = 0;
    }
    const high = drawn[drawnCount] ?? 0;
    const low = drawn[drawnCount + 1] ?? 0;
    drawnCount += 2;
    // 53 random bits, the precision of a double.
    return (high * 2 ** 21 + (low >>> 11)) / 2 ** 53;
  },
};

/** Drawn in advance: one call for many numbers costs little more than one call for one. */
const drawn = new Uint32Array(512);
let drawnCount = drawn.length;

/**
 * The same sequence for the same seed, for tests and simulations; predictable, so never for secrets or ids
 * that must not be guessed. Algorithm: sfc32 (Chris Doty-Humphrey, PractRand), seeded through splitmix32.
 */
export const seededRandom = (seed: number): Random => {
  let state = seed >>> 0;
  const splitmix = (): number => {
    state = (state + 0x9e3779b9) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return (z ^ (z >>> 15)) >>> 0;
  };
  let a = splitmix();
  let b = splitmix();
  let c = splitmix();
  let counter = 1;
  const next32 = (): number => {
    const sum = (a + b + counter) >>> 0;
    counter = (counter + 1) >>> 0;
    a = (b ^ (b >>> 9)) >>> 0;
    b = (c + (c << 3)) >>> 0;
    c = ((c << 21) | (c >>> 11)) >>> 0;
    c = (c + sum) >>> 0;
    return sum;
  };
  for (let round = 0; round < 12; round += 1) next32();
  return { next: () => next32() / 2 ** 32 };
};

/** A whole number, uniform in [0, bound). `bound` must be a positive integer. */
export const randomInt = (random: Random, bound: number): number => Math.floor(random.next() * bound);

/** `length` lower-case hexadecimal digits. */
export const randomHex = (random: Random, length: number): string => {
  let text = "";
  while (text.length < length) {
    text += randomInt(random, 0x1_0000_0000).toString(16).padStart(8, "0");
  }
  return text.slice(0, length);
};
