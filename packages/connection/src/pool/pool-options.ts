import type { Abortable, Clock, Logger, Random } from "@holdfast/kernel";
import { whole } from "../link/settings.ts";

/** What a resource is told when it is made. */
export interface CreateContext {
  /** Aborts at `createTimeoutMs` and when the pool closes. */
  readonly signal: AbortSignal;
  /**
   * To be called when the resource breaks by itself, for example when its socket closes: an idle one is
   * replaced at once, a leased one when it comes back. Idempotent.
   */
  readonly onBroken: (error?: Error) => void;
}

/** A limit that several pools share. */
export interface Permits {
  /** Takes the right to one more resource; false when there is none now. */
  take(): boolean;
  give(): void;
  /** One of the resources went idle: it may be given up for someone else, see {@link Pool.giveUpIdle}. */
  idle?(): void;
}

export interface PoolOptions<T> {
  /** Names the pool in errors, logs and statistics. */
  readonly name: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger?: Logger;
  /** Opens one resource. When it resolves after its signal aborted, the resource is destroyed. */
  readonly create: (context: CreateContext) => Promise<T>;
  /** Lets one resource go. Must not throw; waited for at most `destroyTimeoutMs` when the pool closes. */
  readonly destroy: (resource: T) => Promise<void> | void;
  /**
   * Whether an idle resource still works. Asked before lending one that was idle for `validateAfterMs`, and
   * every `checkEveryMs`. False, an error or no answer in `validateTimeoutMs`: the resource is destroyed.
   */
  readonly validate?: (resource: T) => Promise<boolean>;
  /**
   * Makes a returned resource ready for the next user, for example rolls back. Undefined when there is
   * nothing to do. An error or no end in `resetTimeoutMs`: the resource is destroyed.
   */
  readonly reset?: (resource: T) => Promise<void> | undefined;
  /** Most resources, opening ones included. 0: every acquire fails at once. Default 10. */
  readonly maxCount?: number;
  /**
   * Opened in the background from the start, and again when some are lost; a second later where one was lost within a
   * second of its opening. Default 0, at most `maxCount`.
   */
  readonly minCount?: number;
  /** False: `minCount` is ignored and all `maxCount` are opened and kept. Default true. */
  readonly autoScale?: boolean;
  /** Asked before each opening, besides `maxCount`. When one becomes free elsewhere, call {@link Pool.wake}. Must not throw. */
  readonly permits?: Permits;
  /** Most resources being opened at once, so that a crowd does not storm a server. Default 2. */
  readonly openingMaxCount?: number;
  /** Most acquires that wait; more fail at once. Default 1_000. */
  readonly waitingMaxCount?: number;
  /** Longest wait of an acquire, milliseconds. Default 30_000. */
  readonly acquireTimeoutMs?: number;
  /** Default 5_000. */
  readonly createTimeoutMs?: number;
  /** Default 1_000. */
  readonly validateTimeoutMs?: number;
  /** Default 5_000. */
  readonly resetTimeoutMs?: number;
  /** Default 2_000. */
  readonly destroyTimeoutMs?: number;
  /** A resource idle for this long or longer is never lent. Default 60_000. */
  readonly idleTimeoutMs?: number;
  /**
   * A resource of this age or older is never lent. Each lives up to a tenth less, at random, so that those
   * opened together do not end together. Default 1_800_000.
   */
  readonly lifetimeMs?: number;
  /** How often one resource is lent before it is replaced. Default: without limit. */
  readonly usesMaxCount?: number;
  /** Idle for longer than this: validated before it is lent. Default 5_000. */
  readonly validateAfterMs?: number;
  /** Idle resources are validated this often. Default 30_000. */
  readonly checkEveryMs?: number;
  /** A lease held longer than this is reported once, with where it was acquired. Default: not watched; costs a stack trace for each acquire. */
  readonly leakAfterMs?: number;
}

export interface AcquireOptions extends Abortable {
  /** Milliseconds, finite. Default: the pool's `acquireTimeoutMs`. */
  readonly timeoutMs?: number;
}

/** {@link PoolOptions}, checked and complete. */
export type PoolSettings<T> = Required<
  Omit<PoolOptions<T>, "logger" | "validate" | "reset" | "leakAfterMs" | "autoScale" | "permits">
> &
  Pick<PoolOptions<T>, "validate" | "reset" | "leakAfterMs" | "logger" | "permits">;

/** @throws InvalidInputError naming the field that is wrong. */
export const poolSettingsOf = <T>(options: PoolOptions<T>): PoolSettings<T> => {
  const milliseconds = (field: keyof PoolOptions<T>, fallback: number, min = 1): number =>
    whole(String(field), (options[field] as number | undefined) ?? fallback, { min });
  const maxCount = whole("maxCount", options.maxCount ?? 10, { min: 0 });
  const minCount = whole("minCount", options.minCount ?? 0, { min: 0, max: Math.max(0, maxCount) });
  return {
    ...options,
    maxCount,
    minCount: options.autoScale === false ? maxCount : minCount,
    openingMaxCount: whole("openingMaxCount", options.openingMaxCount ?? 2, { min: 1 }),
    waitingMaxCount: whole("waitingMaxCount", options.waitingMaxCount ?? 1_000, { min: 0 }),
    usesMaxCount: whole("usesMaxCount", options.usesMaxCount ?? Number.MAX_SAFE_INTEGER, { min: 1 }),
    acquireTimeoutMs: milliseconds("acquireTimeoutMs", 30_000),
    createTimeoutMs: milliseconds("createTimeoutMs", 5_000),
    validateTimeoutMs: milliseconds("validateTimeoutMs", 1_000),
    resetTimeoutMs: milliseconds("resetTimeoutMs", 5_000),
    destroyTimeoutMs: milliseconds("destroyTimeoutMs", 2_000),
    idleTimeoutMs: milliseconds("idleTimeoutMs", 60_000),
    lifetimeMs: milliseconds("lifetimeMs", 1_800_000),
    validateAfterMs: milliseconds("validateAfterMs", 5_000, 0),
    checkEveryMs: milliseconds("checkEveryMs", 30_000),
  };
};
