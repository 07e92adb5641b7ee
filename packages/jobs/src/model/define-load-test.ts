import type { Json } from "@holdfast/coordination";
import { InvalidInputError } from "@holdfast/kernel";
import type { StandardSchemaV1 } from "@standard-schema/spec";
import { PermanentError } from "../errors.ts";
import { brandDefinition } from "./define-workflow.ts";
import {
  COMMON_FIELDS,
  checkCommonOptions,
  checkFunction,
  checkKnownFields,
  checkNumber,
} from "./definition-checks.ts";
import { generateLoad, type LoadPlan } from "./load-generator/load-generator.ts";
import type { LoadTestAction, LoadTestOptions, WorkflowContext, WorkflowDefinition } from "./workflow.ts";

const WHAT = "defineLoadTest";
const DURATION_MAX_MS = 7 * 86_400_000;
const RATE_MAX = 10_000_000;
const VUS_MAX = 1_000_000;
const IN_FLIGHT_DEFAULT = 1_000;
/** Beyond the duration: time to set up, and to wait for what is in flight at the end. */
const TIMEOUT_MARGIN_MS = 60_000;
/** The wait for what is in flight at the end (10 s, then 1 s) must fit into the attempt. */
const END_MARGIN_MS = 12_000;

type ByInput<T, Input> = T | ((input: Input) => T);

/**
 * Defines a load test that workers offer under its name: one action, started by a plan, measured exactly.
 *
 * With `ratePerSecond` the model is open (constant arrival rate), without it closed (virtual users). Its
 * shards measure `requests`, `errors`, `errors.<name>` and the histogram `latency` in milliseconds; see
 * `generateLoad`. The default `timeoutMs` is the duration and a minute, at least 5 minutes.
 *
 * @example
 * export const home = defineLoadTest({
 *   name: "home-page",
 *   input: z.object({ url: z.string().url() }),
 *   durationMs: 30_000,
 *   ratePerSecond: 500,
 *   setup: async ({ input }) => createHttpAction({ url: input.url }),
 * });
 *
 * @throws InvalidInputError naming the option that is not acceptable.
 */
export const defineLoadTest = <Schema extends StandardSchemaV1>(
  options: LoadTestOptions<Schema>,
): WorkflowDefinition => {
  const common = checkCommonOptions(WHAT, options);
  checkKnownFields(WHAT, options, [
    ...COMMON_FIELDS,
    "ratePerSecond",
    "vus",
    "durationMs",
    "setup",
    "action",
  ]);
  checkNumbers(options);
  if ((options.setup === undefined) === (options.action === undefined)) {
    throw new InvalidInputError(`${WHAT}.action`, options.action, "given, or setup instead of it, not both");
  }
  if (options.setup !== undefined) checkFunction(`${WHAT}.setup`, options.setup);
  if (options.action !== undefined) checkFunction(`${WHAT}.action`, options.action);
  const durationMs = typeof options.durationMs === "number" ? options.durationMs : 0;
  return brandDefinition({
    kind: "load-test",
    ...common,
    timeoutMs:
      options.timeoutMs === undefined
        ? Math.max(common.timeoutMs, durationMs + TIMEOUT_MARGIN_MS)
        : common.timeoutMs,
    dependsOn: [],
    run: (context) => runLoadTest(options, context as WorkflowContext<StandardSchemaV1.InferOutput<Schema>>),
  });
};

const checkNumbers = (options: {
  readonly ratePerSecond?: unknown;
  readonly vus?: unknown;
  readonly durationMs: unknown;
}): void => {
  const { ratePerSecond, vus, durationMs } = options;
  if (typeof durationMs !== "function") checkDuration(durationMs);
  if (ratePerSecond !== undefined && typeof ratePerSecond !== "function") checkRate(ratePerSecond);
  if (vus !== undefined && typeof vus !== "function") checkVus(vus);
};

const checkDuration = (value: unknown): number =>
  checkNumber(`${WHAT}.durationMs`, value, { min: 1, max: DURATION_MAX_MS });
const checkRate = (value: unknown): number =>
  checkNumber(`${WHAT}.ratePerSecond`, value, { min: 0.001, max: RATE_MAX });
const checkVus = (value: unknown): number =>
  checkNumber(`${WHAT}.vus`, value, { min: 1, max: VUS_MAX, integer: true });

const resolve = <T, Input>(value: ByInput<T, Input>, input: Input): T =>
  typeof value === "function" ? (value as (input: Input) => T)(input) : value;

const runLoadTest = async <Schema extends StandardSchemaV1>(
  options: LoadTestOptions<Schema>,
  context: WorkflowContext<StandardSchemaV1.InferOutput<Schema>>,
): Promise<Json> => {
  const plan = planOf(options, context);
  if (plan.durationMs + END_MARGIN_MS > context.timeoutMs) {
    throw new PermanentError(
      `a duration of ${plan.durationMs} ms and ${END_MARGIN_MS} ms for the last answers do not fit into the attempt's limit of ${context.timeoutMs} ms: raise timeoutMs`,
    );
  }
  const action = await prepare(options, context);
  try {
    return { ...(await generateLoad(plan, { ...meterOf(context), action })) };
  } finally {
    await action.close?.();
  }
};

const meterOf = (context: WorkflowContext<unknown>) => ({
  meter: context,
  clock: context.clock,
  signal: context.signal,
});

const prepare = async <Schema extends StandardSchemaV1>(
  options: LoadTestOptions<Schema>,
  context: WorkflowContext<StandardSchemaV1.InferOutput<Schema>>,
): Promise<LoadTestAction> => {
  if (options.setup !== undefined) {
    const action = await options.setup(context);
    if (typeof action !== "function") {
      throw new PermanentError(
        `the setup of load test must return its action, a function; got ${typeof action}`,
      );
    }
    return action;
  }
  const { action } = options;
  return (signal) => (action as NonNullable<typeof action>)(context, signal);
};

const planOf = <Schema extends StandardSchemaV1>(
  options: LoadTestOptions<Schema>,
  context: WorkflowContext<StandardSchemaV1.InferOutput<Schema>>,
): LoadPlan => {
  const { input, shard, shardCount } = context;
  const durationMs = checkDuration(context.durationMs ?? resolve(options.durationMs, input));
  const rate = resolve(options.ratePerSecond, input);
  if (rate === undefined) {
    const vus = context.vus ?? shareOf(checkVus(resolve(options.vus, input) ?? 1), shard, shardCount);
    return { model: "closed", virtualUsers: vus, durationMs };
  }
  const vus =
    context.vus ?? shareOf(checkVus(resolve(options.vus, input) ?? IN_FLIGHT_DEFAULT), shard, shardCount);
  return {
    model: "open",
    ratePerSecond: checkRate(rate),
    shard,
    shardCount,
    // A shard without a virtual user of its own still has actions in its plan.
    inFlightMax: Math.max(1, vus),
    durationMs,
  };
};

/** Splits a whole number evenly; the first shards get what is left over. */
const shareOf = (total: number, shard: number, shardCount: number): number =>
  Math.floor(total / shardCount) + (shard < total % shardCount ? 1 : 0);
