import { InvalidInputError } from "@holdfast/kernel";
import { expect } from "vitest";
import type { Json } from "../json.ts";

class Money {
  readonly cents = 1;
}

const within: Record<string, unknown> = {};
within["self"] = within;

/** What JSON would lose without a word or cannot hold, with its path and the name of its kind. */
const LOSSY: readonly (readonly [unknown, string, string])[] = [
  [undefined, "", "undefined"],
  [{ rows: [1, undefined] }, ".rows[1]", "undefined"],
  [{ rows: [{ run: () => 1 }] }, ".rows[0].run", "a function"],
  [{ mark: Symbol("mark") }, ".mark", "a symbol"],
  [{ n: 1n }, ".n", "a bigint"],
  [[Number.NaN], "[0]", "NaN"],
  [{ cause: new TypeError("no") }, ".cause", "an instance of TypeError"],
  [{ by: new Map([["a", 1]]) }, ".by", "an instance of Map"],
  [{ price: new Money() }, ".price", "an instance of Money"],
  [{ key: Buffer.from("key") }, ".key", "an instance of Buffer"],
  [{ at: new Date(Number.NaN) }, ".at", "an invalid date"],
  [within, ".self", "a cycle"],
];

/** Gives each lossy value to `send` and expects that it is refused with `field`, its path and its kind. */
export const expectLossRefused = async (
  field: string,
  send: (value: Json) => Promise<unknown>,
  options: { readonly mayBeAbsent?: boolean } = {},
): Promise<void> => {
  for (const [value, path, kind] of LOSSY) {
    if (value === undefined && options.mayBeAbsent === true) continue;
    const error: unknown = await send(value as Json).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(InvalidInputError);
    expect(error).toMatchObject({ code: "KERNEL_INVALID_INPUT", field: `${field}${path}`, retryable: false });
    expect((error as Error).message).toContain(`must be plain JSON, not ${kind}`);
  }
};
