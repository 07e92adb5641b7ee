import { isHoldfastError, toWireError, type WireError } from "@holdfast/kernel";
import { thawError } from "../shard-failure.ts";

/** An error as data between threads: structured clone would drop its code and what drivers add. */
export type ErrorData =
  | { readonly kind: "holdfast"; readonly error: WireError }
  | {
      readonly kind: "foreign";
      readonly name: string;
      readonly message: string;
      readonly fields: Readonly<Record<string, string | number | boolean>>;
    };

export const freezeError = (error: unknown): ErrorData => {
  if (isHoldfastError(error)) return { kind: "holdfast", error: toWireError(error) };
  if (!(error instanceof Error))
    return { kind: "foreign", name: "Error", message: String(error), fields: {} };
  // SQLSTATE, constraint, table, column: what a caller decides by.
  const fields = Object.fromEntries(
    Object.entries(error).filter(([, value]) => ["string", "number", "boolean"].includes(typeof value)),
  ) as Record<string, string | number | boolean>;
  return { kind: "foreign", name: error.name, message: error.message, fields };
};

export const thawErrorData = (data: ErrorData): Error => {
  if (data.kind === "holdfast") return thawError(data.error);
  return Object.assign(new Error(data.message), { name: data.name }, data.fields);
};
