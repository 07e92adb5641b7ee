import { InvalidInputError } from "@holdfast/kernel";
import { HALF_MAX, HALF_OVERFLOW } from "./half-float.ts";
import { type Distance, NON_ZERO_MAX_COUNT, type SparseVector, type VectorType } from "./vector-type.ts";

/** From here on rounding to 32 bits gives infinity. */
const SINGLE_OVERFLOW = 3.4028235677973366e38;

/** Up to here rounding gives zero: half of the smallest number, and a tie goes to the even one. */
const SINGLE_UNDERFLOW = 2 ** -150;
const HALF_UNDERFLOW = 2 ** -25;

export interface VectorShape {
  readonly type: VectorType;
  readonly dimensions: number;
  /** Under cosine a vector without a direction has no distance to anything, and no index finds it. */
  readonly distance?: Distance | undefined;
}

/**
 * Checks a vector before anything is sent.
 * @throws InvalidInputError naming `field`, with the index of the element where one is to blame.
 */
export const checkVector = (shape: VectorShape, value: unknown, field: string): void => {
  switch (shape.type) {
    case "bit":
      checkBits(shape, value, field);
      return;
    case "sparsevec":
      checkSparse(shape, value, field);
      return;
    default:
      checkDense(shape, value, field);
  }
};

const checkDense = ({ type, dimensions, distance }: VectorShape, value: unknown, field: string): void => {
  if (!(value instanceof Float32Array) && !Array.isArray(value)) {
    throw new InvalidInputError(field, typeof value, "a Float32Array or an array of numbers");
  }
  checkLength(dimensions, value.length, field);
  const limit = type === "halfvec" ? HALF_OVERFLOW : SINGLE_OVERFLOW;
  const tiny = type === "halfvec" ? HALF_UNDERFLOW : SINGLE_UNDERFLOW;
  let isZero = true;
  for (let index = 0; index < value.length; index += 1) {
    const element = value[index] as number;
    // Written so that NaN fails too. This loop sees every number of a bulk load.
    const size = typeof element === "number" ? Math.abs(element) : Number.NaN;
    if (!(size < limit)) {
      throw new InvalidInputError(`${field}[${index}]`, element, finiteNumber(type));
    }
    if (size > tiny) isZero = false;
  }
  if (isZero && distance === "cosine") refuseZero(field);
};

const finiteNumber = (type: VectorType): string =>
  type === "halfvec" ? `a number between -${HALF_MAX} and ${HALF_MAX}` : "a finite 32-bit number";

const checkBits = ({ dimensions }: VectorShape, value: unknown, field: string): void => {
  if (typeof value !== "string") throw new InvalidInputError(field, typeof value, "text of 0 and 1");
  checkLength(dimensions, value.length, field);
  const wrong = /[^01]/.exec(value);
  if (wrong !== null) throw new InvalidInputError(`${field}[${wrong.index}]`, wrong[0], "0 or 1");
};

const checkSparse = ({ dimensions, distance }: VectorShape, value: unknown, field: string): void => {
  const sparse = value as SparseVector | null;
  if (
    typeof sparse !== "object" ||
    sparse === null ||
    !Array.isArray(sparse.indices) ||
    !Array.isArray(sparse.values)
  ) {
    throw new InvalidInputError(field, typeof value, "a sparse vector { dimensions, indices, values }");
  }
  checkLength(dimensions, sparse.dimensions, field);
  const count = sparse.indices.length;
  if (count !== sparse.values.length || count > NON_ZERO_MAX_COUNT) {
    throw new InvalidInputError(
      `${field}.values`,
      sparse.values.length,
      `as many as indices (${count}), at most ${NON_ZERO_MAX_COUNT}`,
    );
  }
  let before = -1;
  for (let at = 0; at < count; at += 1) {
    const index: unknown = sparse.indices[at];
    if (!Number.isInteger(index) || (index as number) <= before || (index as number) >= dimensions) {
      throw new InvalidInputError(
        `${field}.indices[${at}]`,
        index,
        `an integer above ${before} and below ${dimensions}`,
      );
    }
    before = index as number;
    const element: unknown = sparse.values[at];
    if (
      typeof element !== "number" ||
      !(Math.abs(element) < SINGLE_OVERFLOW && Math.abs(element) > SINGLE_UNDERFLOW)
    ) {
      throw new InvalidInputError(
        `${field}.values[${at}]`,
        element,
        "a finite 32-bit number other than zero",
      );
    }
  }
  if (count === 0 && distance === "cosine") refuseZero(field);
};

const checkLength = (dimensions: number, length: number, field: string): void => {
  if (length !== dimensions) {
    throw new InvalidInputError(field, `${length} dimensions`, `a vector of ${dimensions} dimensions`);
  }
};

const refuseZero = (field: string): never => {
  throw new InvalidInputError(field, "only zeros", "a vector with a direction (cosine distance)");
};
