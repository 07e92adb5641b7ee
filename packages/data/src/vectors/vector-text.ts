import { InvalidInputError } from "@holdfast/kernel";
import type { SparseVector, VectorType, VectorValue } from "./vector-type.ts";

/** The text form of a vector: `[1,2]`, `0101` or, with indices from 1 on, `{1:0.5,7:2}/10`. The value has been checked. */
export const formatVector = (type: VectorType, value: VectorValue): string => {
  switch (type) {
    case "vector":
    case "halfvec":
      return `[${(value as readonly number[]).join(",")}]`;
    case "bit":
      return value as string;
    case "sparsevec": {
      const { dimensions, indices, values } = value as SparseVector;
      return `{${indices.map((index, at) => `${index + 1}:${values[at]}`).join(",")}}/${dimensions}`;
    }
  }
};

/**
 * Reads the text form of a vector, as every query returns it.
 * @throws InvalidInputError when the text is not of that form.
 */
export const parseVector = <T extends VectorType>(type: T, text: string): VectorValue<T> => {
  const parsed = parseAny(type, text);
  if (parsed === undefined) throw new InvalidInputError("text", text, `the text form of a ${type}`);
  return parsed as VectorValue<T>;
};

const parseAny = (type: VectorType, text: string): VectorValue | undefined => {
  switch (type) {
    case "vector":
    case "halfvec":
      if (!/^\[[^[\]]+\]$/.test(text)) return undefined;
      return Float32Array.from(text.slice(1, -1).split(","), Number);
    case "bit":
      return /^[01]*$/.test(text) ? text : undefined;
    case "sparsevec": {
      const match = /^\{([^{}]*)\}\/(\d+)$/.exec(text);
      if (match === null) return undefined;
      const entries = match[1] === "" ? [] : (match[1] ?? "").split(",").map((entry) => entry.split(":"));
      return {
        dimensions: Number(match[2]),
        indices: entries.map(([index]) => Number(index) - 1),
        values: entries.map(([, value]) => Number(value)),
      };
    }
  }
};
