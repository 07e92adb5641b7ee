/** The sum, at most the largest number: Infinity is no JSON, and what carries it reaches nobody. */
export const boundedSum = (a: number, b: number): number => Math.min(a + b, Number.MAX_VALUE);
