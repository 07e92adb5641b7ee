import { InvalidInputError } from "@holdfast/kernel";

/** The vector types of pgvector, and PostgreSQL's bit strings. */
export type VectorType = "vector" | "halfvec" | "bit" | "sparsevec";

/** Few of many numbers; all others are zero. */
export interface SparseVector {
  readonly dimensions: number;
  /** From 0 on, growing. */
  readonly indices: readonly number[];
  /** As many as `indices`, none of them zero. */
  readonly values: readonly number[];
}

interface VectorValues {
  readonly vector: Float32Array | readonly number[];
  readonly halfvec: Float32Array | readonly number[];
  /** Text of 0 and 1. */
  readonly bit: string;
  readonly sparsevec: SparseVector;
}

/** What stands for a vector of type `T` in a program. */
export type VectorValue<T extends VectorType = VectorType> = VectorValues[T];

export type Distance = "l2" | "inner-product" | "cosine" | "l1" | "hamming" | "jaccard";

interface DistanceForm {
  readonly operator: string;
  /** The operator class of an HNSW index, without the type's name in front. */
  readonly opclass: string;
}

const DISTANCES: Readonly<Record<Distance, DistanceForm>> = {
  l2: { operator: "<->", opclass: "l2_ops" },
  "inner-product": { operator: "<#>", opclass: "ip_ops" },
  cosine: { operator: "<=>", opclass: "cosine_ops" },
  l1: { operator: "<+>", opclass: "l1_ops" },
  hamming: { operator: "<~>", opclass: "hamming_ops" },
  jaccard: { operator: "<%>", opclass: "jaccard_ops" },
};

export const operatorOf = (distance: Distance): string => DISTANCES[distance].operator;

export const opclassOf = (type: VectorType, distance: Distance): string =>
  `${type}_${DISTANCES[distance].opclass}`;

/** Most dimensions that a column of the type stores (pgvector 0.8; bit strings are PostgreSQL's own). */
export const DIMENSIONS_MAX: Readonly<Record<VectorType, number>> = {
  vector: 16_000,
  halfvec: 16_000,
  bit: 64_000,
  sparsevec: 1_000_000_000,
};

/** Most entries of a sparse vector that are not zero. */
export const NON_ZERO_MAX_COUNT = 16_000;

const BIT_DISTANCES: readonly Distance[] = ["hamming", "jaccard"];

/** @throws InvalidInputError when the type has no such distance. */
export const checkDistance = (type: VectorType, distance: Distance): void => {
  const fits = (type === "bit") === BIT_DISTANCES.includes(distance);
  if (!fits || !Object.hasOwn(DISTANCES, distance)) {
    const known =
      type === "bit"
        ? BIT_DISTANCES
        : Object.keys(DISTANCES).filter((name) => !BIT_DISTANCES.includes(name as Distance));
    throw new InvalidInputError("distance", distance, `for type ${type} one of ${known.join(", ")}`);
  }
};
