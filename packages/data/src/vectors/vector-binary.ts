import { InvalidInputError } from "@holdfast/kernel";
import type { ColumnCodec } from "../bulk/column-codec.ts";
import { checkVector, type VectorShape } from "./check-vector.ts";
import { fromHalf, toHalf } from "./half-float.ts";
import type { SparseVector, VectorType, VectorValue } from "./vector-type.ts";

// The forms of pgvector's send and receive functions (src/vector.c, halfvec.c, sparsevec.c) and of PostgreSQL's
// varbit.c. Numbers are big-endian; sparse indices count from 0, unlike in text.

const isLittleEndian = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

const byteCountOf = (type: VectorType, value: VectorValue): number => {
  switch (type) {
    case "vector":
      return 4 + 4 * (value as readonly number[]).length;
    case "halfvec":
      return 4 + 2 * (value as readonly number[]).length;
    case "bit":
      return 4 + Math.ceil((value as string).length / 8);
    case "sparsevec":
      return 12 + 8 * (value as SparseVector).indices.length;
  }
};

const writeDense = (view: DataView, offset: number, value: Float32Array | readonly number[]): void => {
  view.setUint16(offset, value.length);
  view.setUint16(offset + 2, 0);
  const start = offset + 4;
  if (value instanceof Float32Array && isLittleEndian) {
    // Copy the bytes as they are, then turn each number round: several times faster than number by number.
    const bytes = Buffer.from(view.buffer, view.byteOffset + start, value.byteLength);
    bytes.set(new Uint8Array(value.buffer, value.byteOffset, value.byteLength));
    bytes.swap32();
    return;
  }
  for (let index = 0; index < value.length; index += 1) {
    view.setFloat32(start + 4 * index, value[index] as number);
  }
};

const writeHalf = (view: DataView, offset: number, value: Float32Array | readonly number[]): void => {
  view.setUint16(offset, value.length);
  view.setUint16(offset + 2, 0);
  for (let index = 0; index < value.length; index += 1) {
    view.setUint16(offset + 4 + 2 * index, toHalf(value[index] as number));
  }
};

const writeBits = (view: DataView, offset: number, value: string): void => {
  view.setInt32(offset, value.length);
  const byteCount = Math.ceil(value.length / 8);
  for (let byte = 0; byte < byteCount; byte += 1) {
    let packed = 0;
    for (let bit = 0; bit < 8; bit += 1) {
      packed = (packed << 1) | (value.charCodeAt(8 * byte + bit) === 49 ? 1 : 0);
    }
    view.setUint8(offset + 4 + byte, packed);
  }
};

const writeSparse = (view: DataView, offset: number, value: SparseVector): void => {
  const count = value.indices.length;
  view.setInt32(offset, value.dimensions);
  view.setInt32(offset + 4, count);
  view.setInt32(offset + 8, 0);
  for (let at = 0; at < count; at += 1) {
    view.setInt32(offset + 12 + 4 * at, value.indices[at] as number);
    view.setFloat32(offset + 12 + 4 * (count + at), value.values[at] as number);
  }
};

const writeVector = (view: DataView, offset: number, type: VectorType, value: VectorValue): void => {
  if (type === "vector") writeDense(view, offset, value as readonly number[]);
  else if (type === "halfvec") writeHalf(view, offset, value as readonly number[]);
  else if (type === "bit") writeBits(view, offset, value as string);
  else writeSparse(view, offset, value as SparseVector);
};

/** The binary form of a vector, as a parameter of a statement takes it. The value has been checked. */
export const encodeVector = (type: VectorType, value: VectorValue): Buffer => {
  const buffer = Buffer.allocUnsafe(byteCountOf(type, value));
  writeVector(new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength), 0, type, value);
  return buffer;
};

/**
 * Reads what `vector_send`, `halfvec_send`, `bit_send` or `sparsevec_send` gave.
 * @throws InvalidInputError when the bytes are not of that form.
 */
export const decodeVector = <T extends VectorType>(type: T, bytes: Uint8Array): VectorValue<T> => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const decoded = bytes.length < 4 ? undefined : readVector(view, type);
  if (decoded === undefined || byteCountOf(type, decoded) !== bytes.length) {
    throw new InvalidInputError("bytes", `${bytes.length} bytes`, `the binary form of a ${type}`);
  }
  return decoded as VectorValue<T>;
};

const readVector = (view: DataView, type: VectorType): VectorValue | undefined => {
  switch (type) {
    case "vector":
    case "halfvec": {
      const size = type === "vector" ? 4 : 2;
      const dimensions = view.getUint16(0);
      if (view.byteLength !== 4 + size * dimensions) return undefined;
      const read =
        type === "vector"
          ? (at: number) => view.getFloat32(at)
          : (at: number) => fromHalf(view.getUint16(at));
      return Float32Array.from({ length: dimensions }, (_, index) => read(4 + size * index));
    }
    case "bit": {
      const length = view.getInt32(0);
      if (view.byteLength !== 4 + Math.ceil(length / 8)) return undefined;
      const bitAt = (index: number): number => (view.getUint8(4 + (index >> 3)) >> (7 - (index & 7))) & 1;
      return Array.from({ length }, (_, index) => bitAt(index)).join("");
    }
    case "sparsevec": {
      const count = view.byteLength < 12 ? -1 : view.getInt32(4);
      if (view.byteLength !== 12 + 8 * count) return undefined;
      return {
        dimensions: view.getInt32(0),
        indices: Array.from({ length: count }, (_, at) => view.getInt32(12 + 4 * at)),
        values: Array.from({ length: count }, (_, at) => view.getFloat32(12 + 4 * (count + at))),
      };
    }
  }
};

/** A column of vectors for `bulkLoad`: each value is checked, then written in binary without being printed. */
export const vectorColumn = (shape: VectorShape): ColumnCodec => ({
  type: shape.type,
  write(writer, value, field) {
    checkVector(shape, value, field);
    const vector = value as VectorValue;
    writer.field(byteCountOf(shape.type, vector), (view, offset) =>
      writeVector(view, offset, shape.type, vector),
    );
  },
});
