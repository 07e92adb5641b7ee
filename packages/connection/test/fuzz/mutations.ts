import { type Random, randomInt } from "@holdfast/kernel";
import { crc32 } from "@holdfast/protocol";

const INTERESTING = [0, 1, 0x7f, 0x80, 0x8f, 0x90, 0xc1, 0xc6, 0xd4, 0xdb, 0xdd, 0xdf, 0xfe, 0xff];

const at = (random: Random, bytes: Uint8Array): number => randomInt(random, Math.max(1, bytes.length));

const MUTATIONS: readonly ((bytes: Uint8Array, random: Random) => Uint8Array)[] = [
  (bytes, random) => {
    const place = at(random, bytes);
    bytes[place] = (bytes[place] ?? 0) ^ (1 << randomInt(random, 8));
    return bytes;
  },
  (bytes, random) => {
    bytes[at(random, bytes)] = INTERESTING[randomInt(random, INTERESTING.length)] ?? 0;
    return bytes;
  },
  (bytes, random) => bytes.slice(0, at(random, bytes)),
  (bytes, random) => {
    const start = at(random, bytes);
    return Uint8Array.from([...bytes.slice(0, start), ...bytes.slice(start + 1 + randomInt(random, 8))]);
  },
  (bytes, random) => {
    const place = at(random, bytes);
    const inserted = Array.from({ length: 1 + randomInt(random, 6) }, () => randomInt(random, 256));
    return Uint8Array.from([...bytes.slice(0, place), ...inserted, ...bytes.slice(place)]);
  },
  (bytes, random) => {
    const start = at(random, bytes);
    return Uint8Array.from([...bytes, ...bytes.slice(start, start + randomInt(random, 40))]);
  },
];

/** A few changes of the kinds that find faults in readers. */
export const mutate = (bytes: Uint8Array, random: Random): Uint8Array => {
  let changed = Uint8Array.from(bytes);
  const count = 1 + randomInt(random, 4);
  for (let index = 0; index < count; index += 1) {
    changed = Uint8Array.from(MUTATIONS[randomInt(random, MUTATIONS.length)]?.(changed, random) ?? changed);
  }
  return changed;
};

/** Makes length and checksum right again, so that the change is seen by what lies behind them. */
export const seal = (bytes: Uint8Array): Uint8Array => {
  if (bytes.length < 18) return bytes;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  view.setUint32(0, bytes.length - 4);
  view.setUint32(bytes.length - 4, crc32(bytes, 4, bytes.length - 4));
  return bytes;
};
