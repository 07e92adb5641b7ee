import { z } from "zod";
import { SCOPES } from "./contract/definition.ts";
import { wireError } from "./contract/shapes.ts";
import { InvalidMessageError } from "./errors.ts";

// The handshake, each step one frame:
//
//   dialler   hello         version, features, who it is
//   listener  hello         version, the common features, who it is   | failure: version mismatch, overload
//   dialler   authenticate  credential, or none
//   listener  ready         what the credential allows                | failure: refused
//
// Nothing else may travel before `ready`. Afterwards the dialler may send `authenticate` again, with a fresh
// credential and the next number; the `ready` that answers it carries an error when it was refused.

const feature = z.string().min(1).max(64);

export const hello = z.object({
  /** `major.minor`; missing reads as 1.0. */
  version: z.string().max(32).optional(),
  features: z.array(feature).max(128).default([]),
  /** Empty for a client that is not a node. */
  nodeId: z.string().max(256).default(""),
  role: z.string().max(64).default(""),
  /** Where the sender can be dialled, or empty. */
  address: z.string().max(300).default(""),
});

export const authenticate = z.object({
  token: z.string().max(8_192).optional(),
});

export const ready = z.object({
  scopes: z.array(z.enum(SCOPES)).max(SCOPES.length),
  error: wireError.optional(),
});

export type Hello = z.output<typeof hello>;
export type Authenticate = z.output<typeof authenticate>;
export type Ready = z.output<typeof ready>;

/** Before `ready` nobody has a reason to send more than this; strangers get no more memory. */
export const HANDSHAKE_MAX_BYTES = 64 * 1024;

/**
 * Checks a decoded payload against a schema of ours.
 * @param message The name that errors show. @param part Which part of the message, for example `input`.
 * @throws InvalidMessageError naming the fields.
 */
export const checkShape = <S extends z.ZodType>(
  schema: S,
  value: unknown,
  message: string,
  part: string,
): z.output<S> => {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw new InvalidMessageError(
    message,
    part,
    result.error.issues.map(({ path, message: text }) => ({
      path: path.map(String).join("."),
      message: text,
    })),
  );
};
