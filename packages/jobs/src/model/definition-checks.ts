import { InvalidInputError } from "@holdfast/kernel";
import { SHARDS_MAX_COUNT } from "@holdfast/protocol/contract";
import type { StandardSchemaV1 } from "@standard-schema/spec";
import type { BackoffOptions } from "./workflow.ts";

/** The options that workflows and load tests share, checked and with their defaults. */
export interface CheckedOptions {
  readonly name: string;
  readonly description: string;
  readonly input: StandardSchemaV1;
  readonly maxAttempts: number;
  readonly backoff: Required<BackoffOptions>;
  readonly timeoutMs: number;
  readonly fixedShardCount: number | undefined;
  readonly shardCount: (input: unknown) => number;
}

/** Thirty days: longer than any job may run, so a larger value is a mistake in units. */
const TIMEOUT_MAX_MS = 30 * 86_400_000;
const NAME_PATTERN = /^[A-Za-z0-9._-]{1,128}$/;
const NAME_EXPECTED = "1 to 128 characters of letters, digits, '.', '_' and '-'";

export const checkWorkflowName = (field: string, value: unknown): string => {
  if (typeof value === "string" && NAME_PATTERN.test(value)) return value;
  throw new InvalidInputError(field, value, NAME_EXPECTED);
};

export const checkNumber = (
  field: string,
  value: unknown,
  bounds: { readonly min: number; readonly max: number; readonly integer?: boolean },
): number => {
  const { min, max, integer = false } = bounds;
  const fits =
    typeof value === "number" && value >= min && value <= max && (!integer || Number.isInteger(value));
  if (fits) return value;
  throw new InvalidInputError(
    field,
    value,
    `${integer ? "a whole number" : "a number"} from ${min} to ${max}`,
  );
};

export const checkKnownFields = (what: string, options: object, known: readonly string[]): void => {
  for (const field of Object.keys(options)) {
    if (!known.includes(field)) {
      throw new InvalidInputError(`${what}.${field}`, field, `one of the known options: ${known.join(", ")}`);
    }
  }
};

export const checkFunction = (field: string, value: unknown): void => {
  if (typeof value !== "function") throw new InvalidInputError(field, value, "a function");
};

const checkSchema = (field: string, value: unknown): StandardSchemaV1 => {
  const standard = (value as Partial<StandardSchemaV1> | null | undefined)?.["~standard"];
  if (standard?.version === 1 && typeof standard.validate === "function") return value as StandardSchemaV1;
  throw new InvalidInputError(
    field,
    value,
    "a Standard Schema (a zod, valibot or arktype schema, for example z.object({}))",
  );
};

const checkBackoff = (field: string, value: BackoffOptions | undefined): Required<BackoffOptions> => {
  checkKnownFields(field, value ?? {}, ["baseMs", "factor", "capMs"]);
  const baseMs = checkNumber(`${field}.baseMs`, value?.baseMs ?? 1_000, { min: 0, max: TIMEOUT_MAX_MS });
  const factor = checkNumber(`${field}.factor`, value?.factor ?? 2, { min: 1, max: 100 });
  const capMs = checkNumber(`${field}.capMs`, value?.capMs ?? Math.max(60_000, baseMs), {
    min: baseMs,
    max: TIMEOUT_MAX_MS,
  });
  return { baseMs, factor, capMs };
};

const checkShards = (
  field: string,
  shards: unknown,
): Pick<CheckedOptions, "fixedShardCount" | "shardCount"> => {
  const bounds = { min: 1, max: SHARDS_MAX_COUNT, integer: true };
  if (typeof shards === "function") {
    return {
      fixedShardCount: undefined,
      shardCount: (input) => checkNumber(field, shards(input), bounds),
    };
  }
  const count = checkNumber(field, shards ?? 1, bounds);
  return { fixedShardCount: count, shardCount: () => count };
};

export const COMMON_FIELDS = [
  "name",
  "description",
  "input",
  "shards",
  "maxAttempts",
  "backoff",
  "timeoutMs",
] as const;

/** @throws InvalidInputError naming the field, as `<what>.<field>`. */
export const checkCommonOptions = (
  what: string,
  options: {
    readonly name?: unknown;
    readonly description?: unknown;
    readonly input?: unknown;
    readonly shards?: unknown;
    readonly maxAttempts?: unknown;
    readonly backoff?: BackoffOptions | undefined;
    readonly timeoutMs?: unknown;
  },
): CheckedOptions => {
  if (typeof options !== "object" || options === null) {
    throw new InvalidInputError(what, options, "called with an options object");
  }
  const { description = "" } = options;
  if (typeof description !== "string" || description.length > 2_000) {
    throw new InvalidInputError(`${what}.description`, description, "a text of at most 2000 characters");
  }
  return {
    name: checkWorkflowName(`${what}.name`, options.name),
    description,
    input: checkSchema(`${what}.input`, options.input),
    maxAttempts: checkNumber(`${what}.maxAttempts`, options.maxAttempts ?? 3, {
      min: 1,
      max: 1_000,
      integer: true,
    }),
    backoff: checkBackoff(`${what}.backoff`, options.backoff),
    timeoutMs: checkNumber(`${what}.timeoutMs`, options.timeoutMs ?? 300_000, {
      min: 1,
      max: TIMEOUT_MAX_MS,
    }),
    ...checkShards(`${what}.shards`, options.shards),
  };
};
