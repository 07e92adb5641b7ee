import { type Random, randomHex } from "./random.ts";

/** `<prefix>-` and 16 hexadecimal digits (64 random bits), for example `job-9f2c66a01b7de354`. */
export const newId = (prefix: string, random: Random): string => `${prefix}-${randomHex(random, 16)}`;
