import { InvalidInputError } from "@holdfast/kernel";
import { exponentialBackoff, type RetryPreset, type RetryPresetName } from "@holdfast/resilience";
import { z } from "zod";
import { isLoopback, parseAddress } from "../address.ts";
import { type ConnectionManagerOptions, DEFAULT_PORT, hostOf } from "../nodes/manager-options.ts";
import { Secret } from "./secret.ts";

const milliseconds = z.number().int().positive();
const count = z.number().int().nonnegative();

const retryNumbers = z.strictObject({
  maxRetries: count,
  initialBackoffMs: milliseconds,
  maxBackoffMs: milliseconds,
  multiplier: z.number().min(1).max(100),
});

type RetryNumbers = z.output<typeof retryNumbers>;

/** The numbers behind the names of `retry`. */
export const RETRY_PRESETS: Readonly<Record<RetryPresetName, RetryNumbers>> = {
  none: { maxRetries: 0, initialBackoffMs: 100, maxBackoffMs: 5_000, multiplier: 2 },
  standard: { maxRetries: 3, initialBackoffMs: 100, maxBackoffMs: 5_000, multiplier: 2 },
  aggressive: { maxRetries: 5, initialBackoffMs: 50, maxBackoffMs: 2_000, multiplier: 1.5 },
  conservative: { maxRetries: 2, initialBackoffMs: 200, maxBackoffMs: 10_000, multiplier: 3 },
};

const secret = z
  .string()
  .min(1)
  .transform((value) => new Secret(value));

const schema = z.strictObject({
  hosts: z
    .array(z.string())
    .min(1, "name at least one host")
    .default([`localhost:${DEFAULT_PORT}`]),
  username: z.string({ error: "is required" }).min(1, "is required"),
  password: secret.optional(),
  certificate: z.string().min(1).optional(),
  token: secret.optional(),
  enableTls: z.boolean().default(false),
  /** Connecting, and a single request. */
  timeoutMs: milliseconds.default(5_000),
  pool: z
    .strictObject({
      min: count.default(5),
      max: z.number().int().min(1).default(20),
      /** Longest wait for a connection of one's own. */
      connectionTimeoutMs: milliseconds.default(5_000),
      idleTimeoutMs: milliseconds.default(60_000),
      maxLifetimeMs: milliseconds.default(1_800_000),
    })
    .refine(({ min, max }) => min <= max, { path: ["min"], error: "must not exceed pool.max" })
    .prefault({}),
  retry: z
    .union([
      z.enum(["none", "standard", "aggressive", "conservative"]).transform((name) => RETRY_PRESETS[name]),
      retryNumbers,
    ])
    .default(RETRY_PRESETS.standard),
  compression: z
    .strictObject({ enabled: z.boolean().default(false), threshold: count.default(1_024) })
    .prefault({}),
  /** One number for both directions. */
  maxMessageSize: z.number().int().min(65_536).default(1_048_576),
  tokenTtlMs: milliseconds.default(86_400_000),
  log: z
    .strictObject({
      level: z.enum(["debug", "info", "warn", "error"]).default("info"),
      format: z.enum(["text", "json"]).default("text"),
      timestamps: z.boolean().default(true),
    })
    .prefault({}),
  tracing: z
    .strictObject({
      enabled: z.boolean().default(false),
      endpoint: z.string().optional(),
      serviceName: z.string().optional(),
    })
    .prefault({}),
});

/** Everything a client of a cluster is told. The rules are in the schema; unknown keys are refused. */
export type ClientConfigInput = z.input<typeof schema>;
export type ClientConfig = Readonly<z.output<typeof schema>>;

type Tree = { readonly [key: string]: unknown };

/** Where each environment variable goes, and how its text is read. */
const VARIABLES: Readonly<
  Record<string, { readonly path: string; readonly read: (text: string) => unknown }>
> = (() => {
  const text = (value: string): unknown => value;
  const number = (value: string): unknown => (value.trim() === "" ? value : Number(value));
  const flag = (value: string): unknown =>
    value === "true" || value === "1" ? true : value === "false" || value === "0" ? false : value;
  const list = (value: string): unknown =>
    value
      .split(",")
      .map((part) => part.trim())
      .filter((part) => part !== "");
  return {
    HOLDFAST_HOSTS: { path: "hosts", read: list },
    HOLDFAST_USERNAME: { path: "username", read: text },
    HOLDFAST_PASSWORD: { path: "password", read: text },
    HOLDFAST_CERTIFICATE: { path: "certificate", read: text },
    HOLDFAST_TOKEN: { path: "token", read: text },
    HOLDFAST_TLS: { path: "enableTls", read: flag },
    HOLDFAST_TIMEOUT_MS: { path: "timeoutMs", read: number },
    HOLDFAST_POOL_MIN: { path: "pool.min", read: number },
    HOLDFAST_POOL_MAX: { path: "pool.max", read: number },
    HOLDFAST_POOL_CONNECTION_TIMEOUT_MS: { path: "pool.connectionTimeoutMs", read: number },
    HOLDFAST_POOL_IDLE_TIMEOUT_MS: { path: "pool.idleTimeoutMs", read: number },
    HOLDFAST_POOL_MAX_LIFETIME_MS: { path: "pool.maxLifetimeMs", read: number },
    HOLDFAST_RETRY: { path: "retry", read: text },
    HOLDFAST_COMPRESSION: { path: "compression.enabled", read: flag },
    HOLDFAST_COMPRESSION_THRESHOLD: { path: "compression.threshold", read: number },
    HOLDFAST_MAX_MESSAGE_SIZE: { path: "maxMessageSize", read: number },
    HOLDFAST_TOKEN_TTL_MS: { path: "tokenTtlMs", read: number },
    HOLDFAST_LOG_LEVEL: { path: "log.level", read: text },
    HOLDFAST_LOG_FORMAT: { path: "log.format", read: text },
  };
})();

export interface ClientConfigSources {
  /** What a configuration file holds, already parsed. */
  readonly file?: object;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Wins over both. */
  readonly code?: Partial<ClientConfigInput>;
}

/**
 * The configuration of a client: defaults, then the file, then the environment, then code; the later wins, key by key.
 * @throws InvalidInputError naming the first field that is wrong, before any socket opens. Secrets are not shown. A
 * password without TLS is refused unless all hosts are this machine.
 */
export const resolveClientConfig = (sources: ClientConfigSources): ClientConfig => {
  const merged = [sources.file ?? {}, fromEnvironment(sources.env ?? {}), sources.code ?? {}].reduce<Tree>(
    (tree, source) => merge(tree, source as Tree),
    {},
  );
  const result = schema.safeParse(merged);
  if (!result.success) {
    const [issue] = result.error.issues;
    const path = issue?.path.map(String) ?? [];
    if (issue?.code === "unrecognized_keys") {
      const field = [...path, ...issue.keys.slice(0, 1)].join(".");
      throw new InvalidInputError(field, NOT_SHOWN, "the name of a field; there is none of this name");
    }
    throw new InvalidInputError(path.join("."), shown(merged, path), issue?.message ?? "valid");
  }
  const config = result.data;
  if (config.password === undefined && config.certificate === undefined && config.token === undefined) {
    throw new InvalidInputError("password", undefined, "given, or else certificate or token");
  }
  const hosts = [...new Set(config.hosts.map(hostOf))];
  const exposed = hosts.find((host) => !isLoopback(parseAddress(host).host));
  if (config.password !== undefined && !config.enableTls && exposed !== undefined) {
    throw new InvalidInputError(
      "enableTls",
      false,
      `true: the password would travel in the clear to ${exposed}`,
    );
  }
  return Object.freeze({ ...config, hosts });
};

/** What a {@link ConnectionManagerOptions} takes from a configuration. */
export const managerOptionsOf = (
  config: ClientConfig,
): Pick<
  ConnectionManagerOptions,
  "hosts" | "connectTimeoutMs" | "requestTimeoutMs" | "pool" | "retry" | "compression" | "frameMaxBytes"
> => ({
  hosts: config.hosts,
  connectTimeoutMs: config.timeoutMs,
  requestTimeoutMs: config.timeoutMs,
  pool: {
    minCount: config.pool.min,
    maxCount: config.pool.max,
    acquireTimeoutMs: config.pool.connectionTimeoutMs,
    idleTimeoutMs: config.pool.idleTimeoutMs,
    lifetimeMs: config.pool.maxLifetimeMs,
  },
  retry: retryPresetOf(config.retry),
  compression: config.compression.enabled ? { minBytes: config.compression.threshold } : false,
  frameMaxBytes: config.maxMessageSize,
});

/** Jitter only ever adds, up to a fifth, so that the nominal pauses are least pauses. */
const retryPresetOf = (retry: RetryNumbers): RetryPreset => ({
  maxAttempts: retry.maxRetries + 1,
  backoff: exponentialBackoff({
    baseMs: retry.initialBackoffMs,
    factor: retry.multiplier,
    capMs: Math.max(retry.initialBackoffMs, retry.maxBackoffMs),
    jitter: { addShareMax: 0.2 },
  }),
});

const fromEnvironment = (env: Readonly<Record<string, string | undefined>>): Tree => {
  let tree: Tree = {};
  for (const [name, { path, read }] of Object.entries(VARIABLES)) {
    const text = env[name];
    if (text === undefined) continue;
    const value = path.split(".").reduceRight<unknown>((inner, key) => ({ [key]: inner }), read(text));
    tree = merge(tree, value as Tree);
  }
  return tree;
};

const isTree = (value: unknown): value is Tree =>
  typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype;

const merge = (below: Tree, above: Tree): Tree => {
  const merged: Record<string, unknown> = { ...below };
  for (const [key, value] of Object.entries(above)) {
    if (value === undefined) continue;
    const known = Object.hasOwn(merged, key) ? merged[key] : undefined;
    Object.defineProperty(merged, key, {
      value: isTree(known) && isTree(value) ? merge(known, value) : value,
      configurable: true,
      enumerable: true,
      writable: true,
    });
  }
  return merged;
};

const SECRET_FIELDS: ReadonlySet<string> = new Set(["password", "token"]);

/** In place of what may hold a secret: the value of a misspelt field, and whatever has parts. */
const NOT_SHOWN = "[not shown]";

const shown = (tree: Tree, path: readonly string[]): unknown => {
  if (SECRET_FIELDS.has(path[0] ?? "")) return "[secret]";
  const value = path.reduce<unknown>((parent, key) => (isTree(parent) ? parent[key] : undefined), tree);
  return typeof value === "object" && value !== null ? NOT_SHOWN : value;
};
