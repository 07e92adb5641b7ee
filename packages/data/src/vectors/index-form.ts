import { InvalidInputError } from "@holdfast/kernel";
import type { VectorShape } from "./check-vector.ts";
import { type Distance, opclassOf, operatorOf } from "./vector-type.ts";

/**
 * What an index keeps of each vector.
 * - "plain": the vector itself.
 * - "halfvec": the vector in 16 bits a number; results are re-ranked by the full vectors.
 * - "binary": one bit a number; more candidates are fetched and re-ranked by the full vectors.
 */
export type IndexForm = "plain" | "halfvec" | "binary";

/** Limits of pgvector 0.8: an index entry fits into a page. */
const PLAIN_MAX_DIMENSIONS = {
  vector: 2_000,
  halfvec: 4_000,
  bit: 64_000,
  sparsevec: 1_000_000_000,
} as const;
const HALFVEC_MAX_DIMENSIONS = 4_000;
const BINARY_MAX_DIMENSIONS = 64_000;
/** Signs tell about directions; a sum of differences is something else. */
const BINARY_DISTANCES: readonly Distance[] = ["cosine", "inner-product", "l2"];

type Shape = VectorShape & { readonly distance: Distance };

/** Why the form cannot be used for such vectors, or undefined when it can. */
const obstacle = ({ type, dimensions, distance }: Shape, form: IndexForm): string | undefined => {
  if (form === "plain") {
    const limit = PLAIN_MAX_DIMENSIONS[type];
    return dimensions <= limit ? undefined : `an index on ${type} takes at most ${limit} dimensions`;
  }
  if (form === "halfvec") {
    if (type !== "vector") return `only a vector can be indexed as halfvec, not a ${type}`;
    return dimensions <= HALFVEC_MAX_DIMENSIONS
      ? undefined
      : `an index on halfvec takes at most ${HALFVEC_MAX_DIMENSIONS} dimensions`;
  }
  if (type !== "vector" && type !== "halfvec") return `a ${type} cannot be reduced to signs`;
  if (!BINARY_DISTANCES.includes(distance)) return `signs say nothing about the distance ${distance}`;
  return dimensions <= BINARY_MAX_DIMENSIONS
    ? undefined
    : `an index on bit takes at most ${BINARY_MAX_DIMENSIONS} dimensions`;
};

/**
 * The form that an index on such vectors has: the one asked for, or else the most exact that fits.
 * @throws InvalidInputError with the reasons and an advice when none fits.
 */
export const indexFormFor = (shape: Shape, wanted?: IndexForm): IndexForm => {
  const candidates: readonly IndexForm[] = wanted === undefined ? ["plain", "halfvec", "binary"] : [wanted];
  const reasons: string[] = [];
  for (const form of candidates) {
    const reason = obstacle(shape, form);
    if (reason === undefined) return form;
    reasons.push(reason);
  }
  throw new InvalidInputError(
    "dimensions",
    shape.dimensions,
    `indexable: ${reasons.join("; ")}; use a model of fewer dimensions or the distance cosine, or search without an index`,
  );
};

/** The expression that an index of the form is built on. */
export const indexedExpression = ({ dimensions }: VectorShape, form: IndexForm): string => {
  switch (form) {
    case "plain":
      return "embedding";
    case "halfvec":
      return `(embedding::halfvec(${dimensions}))`;
    case "binary":
      return `(binary_quantize(embedding)::bit(${dimensions}))`;
  }
};

export const indexOpclass = ({ type, distance }: Shape, form: IndexForm): string => {
  switch (form) {
    case "plain":
      return opclassOf(type, distance);
    case "halfvec":
      return opclassOf("halfvec", distance);
    case "binary":
      return opclassOf("bit", "hamming");
  }
};

/** The distance to the vector in `parameter` as an index of the form gives it, ready for ORDER BY. */
export const indexedDistance = (shape: Shape, form: IndexForm, parameter: string): string => {
  const { dimensions, distance } = shape;
  const expression = indexedExpression(shape, form);
  switch (form) {
    case "plain":
      return `${expression} ${operatorOf(distance)} ${parameter}`;
    case "halfvec":
      return `${expression} ${operatorOf(distance)} ${parameter}::halfvec(${dimensions})`;
    case "binary":
      return `${expression} ${operatorOf("hamming")} binary_quantize(${parameter})::bit(${dimensions})`;
  }
};

/** How many candidates for one result are re-ranked by the full vectors: little is lost in 16 bits, much in one. */
export const OVERFETCH: Readonly<Record<IndexForm, number>> = { plain: 1, halfvec: 2, binary: 10 };
