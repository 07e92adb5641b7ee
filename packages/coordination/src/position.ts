import { InvalidInputError } from "@holdfast/kernel";

/**
 * A place in a log: which life of the log (`epoch`), and how many entries have been read (`offset` of the
 * last entry read, 0 before the first). Both are bigint here and decimal strings on the wire.
 */
export interface Position {
  readonly epoch: bigint;
  readonly offset: bigint;
}

/** `Position` as it crosses the wire and lies in JSON. */
export interface WirePosition {
  readonly epoch: string;
  readonly offset: string;
}

export const toWirePosition = (position: Position): WirePosition => ({
  epoch: position.epoch.toString(),
  offset: position.offset.toString(),
});

/** @throws InvalidInputError when a part is not a decimal number. */
export const fromWirePosition = (wire: WirePosition): Position => ({
  epoch: parseDecimal("position.epoch", wire.epoch),
  offset: parseDecimal("position.offset", wire.offset),
});

const parseDecimal = (field: string, text: string): bigint => {
  if (!/^\d{1,19}$/.test(text)) throw new InvalidInputError(field, text, "a decimal number");
  return BigInt(text);
};
