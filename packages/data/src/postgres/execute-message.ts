import { InvalidInputError } from "@holdfast/kernel";
import type { WireValue } from "../sql/parameter.ts";

/** The protocol counts them in 16 bits. */
const VALUES_MAX_COUNT = 65_535;

/** Format codes of the protocol. */
const TEXT = 0;
const BINARY = 1;
/** Execute the unnamed portal to its end, then Sync (PostgreSQL manual, "Message Formats"). */
const EXECUTE_AND_SYNC = Buffer.from([0x45, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0x53, 0, 0, 0, 4]);

/**
 * One message that binds `values` to the prepared statement `name`, runs it and asks for the end: Bind, Execute and
 * Sync in one piece, without the question what the columns are.
 * @throws InvalidInputError for more values than the protocol can count.
 */
export const encodeExecution = (name: string, values: readonly WireValue[]): Buffer => {
  if (values.length > VALUES_MAX_COUNT) {
    throw new InvalidInputError("values", values.length, `at most ${VALUES_MAX_COUNT}`);
  }
  const lengths = values.map((value) =>
    value === null ? -1 : typeof value === "string" ? Buffer.byteLength(value) : value.length,
  );
  // Portal "", statement, formats of the values, values, one format for all columns: text.
  let bindLength = 4 + 1 + Buffer.byteLength(name) + 1 + 2 + 2 * values.length + 2 + 2 + 2;
  for (const length of lengths) bindLength += 4 + Math.max(0, length);
  const message = Buffer.allocUnsafe(1 + bindLength + EXECUTE_AND_SYNC.length);
  let at = 0;
  message[at] = 0x42;
  at = message.writeInt32BE(bindLength, 1);
  message[at] = 0;
  at += 1;
  at += message.write(name, at);
  message[at] = 0;
  at = message.writeUInt16BE(values.length, at + 1);
  for (const value of values)
    at = message.writeInt16BE(typeof value === "object" && value !== null ? BINARY : TEXT, at);
  at = message.writeUInt16BE(values.length, at);
  for (const [index, value] of values.entries()) {
    at = message.writeInt32BE(lengths[index] ?? -1, at);
    if (typeof value === "string") at += message.write(value, at);
    else if (value !== null) at += value.copy(message, at);
  }
  at = message.writeInt16BE(1, at);
  at = message.writeInt16BE(TEXT, at);
  EXECUTE_AND_SYNC.copy(message, at);
  return message;
};
