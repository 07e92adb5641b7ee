import type { RedisAddress } from "./redis-target.ts";

const SLOT_COUNT = 16_384;

/** CRC-16/XMODEM, as the Cluster specification has it. */
const crc16 = (text: string): number => {
  let crc = 0;
  for (const byte of Buffer.from(text)) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit += 1)
      crc = crc & 0x8000 ? ((crc << 1) ^ 0x1021) & 0xffff : (crc << 1) & 0xffff;
  }
  return crc;
};

/** The slot of a key: of what stands between its first `{` and the next `}`, when that is not empty. */
export const slotOf = (key: string): number => {
  const from = key.indexOf("{");
  const to = from < 0 ? -1 : key.indexOf("}", from + 1);
  return crc16(to > from + 1 ? key.slice(from + 1, to) : key) % SLOT_COUNT;
};

/** Reads the answer to CLUSTER SLOTS into the master of each range. */
export const readSlots = (
  reply: unknown,
  askedHost: string,
): ((slot: number) => RedisAddress | undefined) => {
  const ranges = (reply as readonly [number, number, readonly [string, number]][]).map(
    ([from, to, [host, port]]) => ({
      from: Number(from),
      to: Number(to),
      // An empty host means: the one that was asked.
      address: { host: host === "" || host === null ? askedHost : host, port: Number(port) },
    }),
  );
  return (slot) => ranges.find(({ from, to }) => slot >= from && slot <= to)?.address;
};
