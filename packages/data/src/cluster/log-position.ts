import { InvalidInputError } from "@holdfast/kernel";

/**
 * A place in the write-ahead log of one database system. `timeline` grows by one with every promotion; positions of
 * different timelines can be compared only through the point where the later one left the earlier.
 */
export interface LogPosition {
  readonly timeline: number;
  readonly lsn: bigint;
}

const LSN = /^([0-9A-F]{1,8})\/([0-9A-F]{1,8})$/i;

/** Reads `16/B374D848`. @throws InvalidInputError naming `field`. */
export const parseLsn = (text: string, field = "lsn"): bigint => {
  const match = LSN.exec(text);
  if (match === null) throw new InvalidInputError(field, text, "a log position such as 16/B374D848");
  return (BigInt(`0x${match[1]}`) << 32n) | BigInt(`0x${match[2]}`);
};

export const formatLsn = (lsn: bigint): string =>
  `${(lsn >> 32n).toString(16).toUpperCase()}/${(lsn & 0xffff_ffffn).toString(16).toUpperCase()}`;

export const formatPosition = ({ timeline, lsn }: LogPosition): string =>
  `timeline ${timeline} at ${formatLsn(lsn)}`;
