import { InvalidInputError } from "@holdfast/kernel";
import type { CopyWriter } from "./copy-writer.ts";

/** Writes the values of one column in PostgreSQL's binary form. */
export interface ColumnCodec {
  /** The type's name, as a cast would have it. */
  readonly type: string;
  /** @throws InvalidInputError naming `field` for a value that the column cannot hold. */
  write(writer: CopyWriter, value: unknown, field: string): void;
}

const INT8_MAX = 2n ** 63n - 1n;
/** 2000-01-01, where PostgreSQL's timestamps begin. */
const EPOCH_MS = 946_684_800_000;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const JSONB_VERSION = 1;
/** An escaped NUL, and not an escaped backslash before the same characters. */
const NUL_ESCAPE = /(?<!\\)(?:\\\\)*\\u0000/;

const refuse = (field: string, value: unknown, expected: string): never => {
  throw new InvalidInputError(field, value, expected);
};

const CODECS = {
  text: {
    type: "text",
    write(writer, value, field) {
      if (typeof value !== "string" || value.includes("\0")) refuse(field, value, "text without NUL");
      writer.text(value as string);
    },
  },
  int4: {
    type: "int4",
    write(writer, value, field) {
      if (value !== ((value as number) | 0)) refuse(field, value, "a 32-bit integer");
      writer.int32(value as number);
    },
  },
  int8: {
    type: "int8",
    write(writer, value, field) {
      const whole = typeof value === "bigint" || Number.isSafeInteger(value);
      const wide = whole || (typeof value === "string" && /^-?\d{1,19}$/.test(value));
      const number = wide ? BigInt(value as bigint | number | string) : INT8_MAX + 1n;
      if (number > INT8_MAX || number < -INT8_MAX - 1n) refuse(field, value, "a 64-bit integer");
      writer.int64(number);
    },
  },
  float8: {
    type: "float8",
    write(writer, value, field) {
      if (typeof value !== "number") refuse(field, value, "a number");
      writer.float64(value as number);
    },
  },
  boolean: {
    type: "boolean",
    write(writer, value, field) {
      if (typeof value !== "boolean") refuse(field, value, "true or false");
      writer.boolean(value as boolean);
    },
  },
  timestamptz: {
    type: "timestamptz",
    write(writer, value, field) {
      const at = value instanceof Date ? value.getTime() : Number.NaN;
      if (Number.isNaN(at)) refuse(field, value, "a valid Date");
      writer.int64(BigInt(at - EPOCH_MS) * 1_000n);
    },
  },
  uuid: {
    type: "uuid",
    write(writer, value, field) {
      if (typeof value !== "string" || !UUID.test(value)) refuse(field, value, "a UUID with hyphens");
      writer.bytes(Buffer.from((value as string).replaceAll("-", ""), "hex"));
    },
  },
  bytea: {
    type: "bytea",
    write(writer, value, field) {
      if (!(value instanceof Uint8Array)) refuse(field, value, "a Uint8Array");
      writer.bytes(value as Uint8Array);
    },
  },
  jsonb: {
    type: "jsonb",
    write(writer, value, field) {
      let text: string | undefined;
      try {
        text = JSON.stringify(value);
      } catch (cause) {
        throw new InvalidInputError(field, typeof value, "JSON without cycles and bigint", { cause });
      }
      // PostgreSQL keeps JSON as text and text cannot hold a NUL.
      if (text === undefined || (text.includes("\\u0000") && NUL_ESCAPE.test(text)))
        refuse(field, value, "JSON without NUL characters");
      writer.text(text as string, JSONB_VERSION);
    },
  },
} as const satisfies Record<string, ColumnCodec>;

/** The plain types that a bulk load writes by itself. */
export type ColumnTypeName = keyof typeof CODECS;

export const codecOf = (type: ColumnTypeName | ColumnCodec, field: string): ColumnCodec => {
  if (typeof type === "object") return type;
  const codec: ColumnCodec | undefined = Object.hasOwn(CODECS, type) ? CODECS[type] : undefined;
  if (codec === undefined)
    throw new InvalidInputError(field, type, `one of ${Object.keys(CODECS).join(", ")}`);
  return codec;
};
