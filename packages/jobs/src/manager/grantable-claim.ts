import type { TaskRef } from "@holdfast/coordination";

/** Stores count tokens in 64 bits with a sign, and the wire takes 19 digits. */
const TOKEN_MAX = 2n ** 63n - 1n;

/**
 * Whether a store can have granted this claim. What workers send shares statements with what others send, and one value
 * that the store cannot read would fail all of it.
 */
export const isGrantable = ({ id, token }: TaskRef): boolean => token <= TOKEN_MAX && !id.includes("\0");
