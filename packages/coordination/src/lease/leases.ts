import type { Abortable } from "@holdfast/kernel";
import type { Json } from "../json.ts";

/** What a grant gives: ownership of `name` until `ttlMs` after the request was sent, unless renewed. */
export interface LeaseGrant {
  readonly name: string;
  readonly owner: string;
  /** Strictly larger than every token ever granted by this store, for any name. */
  readonly token: bigint;
  readonly ttlMs: number;
}

/** A lease as the store sees it now. */
export interface LeaseInfo {
  readonly name: string;
  readonly owner: string;
  readonly token: bigint;
  /** Milliseconds left by the store's clock; never negative (an expired lease is not reported at all). */
  readonly remainingMs: number;
  readonly metadata: Json;
}

export type GrantOutcome =
  | { readonly kind: "granted"; readonly grant: LeaseGrant }
  | { readonly kind: "held"; readonly holder: LeaseInfo };

export interface GrantOptions extends Abortable {
  /** Who asks. Stable per process incarnation; it is shown to people and is NOT what protects the lease: the token is. */
  readonly owner: string;
  /** At least {@link LEASE_TTL_MIN_MS}, at most one day. */
  readonly ttlMs: number;
  /** Small JSON shown with the lease, for example the holder's address. Default null. */
  readonly metadata?: Json | undefined;
  /**
   * Makes the request repeatable: a grant whose answer was lost is found again (same token) by asking with
   * the same id, instead of waiting for the lease to expire.
   */
  readonly requestId?: string;
  /**
   * When the lease is held: its holder's release shall be told to {@link Leases.onReleased} everywhere. Without it
   * a release may go untold, which spares uncontended leases the notification. Default false.
   */
  readonly awaitRelease?: boolean | undefined;
}

/** A place in line for a lease that is held. */
export interface StandInLineOptions extends Omit<GrantOptions, "signal" | "awaitRelease" | "requestId"> {
  /** Names the place, and the grant that comes of it. */
  readonly requestId: string;
  /** Called when the lease was handed over, or when it is worth looking again. Must not throw. */
  readonly onNews: (handed: HandedLease | undefined) => void;
}

/** A grant that the release of the holder before made. */
export interface HandedLease {
  /** Its `ttlMs` is short, in case that nobody is there to take it any more: renew it soon. */
  readonly grant: LeaseGrant;
  /** From when its time counts, by the monotonic clock of the store's options; no later than the grant. */
  readonly askedAt: number;
}

export interface LinePlace {
  /** Look again after so long at the latest: the place is kept for a few times that. */
  readonly lookEveryMs: number;
  /**
   * Takes the lease when it is free or was handed to this place, else takes or keeps the place. Behind the longest
   * line there is none: such an asker only looks.
   * @throws as `grant`.
   */
  look(options?: Abortable): Promise<GrantOutcome>;
  /** Ends it, without waiting; a lease that was handed over meanwhile is released unless `isGranted`. */
  end(options: { readonly isGranted: boolean }): void;
}

/** Below this a lease could lapse inside one store round trip. */
export const LEASE_TTL_MIN_MS = 100;
export const LEASE_TTL_MAX_MS = 86_400_000;

/**
 * Ownership that ends by itself, granted by a store, with a fence token that only grows.
 *
 * Guaranteed: at most one unexpired lease per name by the store's clock; every grant's token is larger than
 * all earlier tokens of this store; renew and release act only for the exact token. Not guaranteed: that a
 * holder knows of its loss in time. So send `token` with each write and let the place where it lands refuse
 * smaller ones ({@link Leases.assertFence} does that inside a transaction of the same store).
 *
 * `Tx` is the backend's transaction handle (see CoordinationStore).
 */
export interface Leases<Tx> {
  /**
   * Takes `name` when it is free or expired, else says who holds it. Never waits for the holder.
   * @throws InvalidInputError for an empty or over-long name (512 characters) or a TTL out of range.
   * @throws StoreUnavailableError when the store cannot be asked; retryable with the same `requestId`.
   */
  grant(name: string, options: GrantOptions): Promise<GrantOutcome>;
  /**
   * Extends each lease to `ttlMs` from now, in one round trip. The answer has one boolean per lease, in
   * order: false means lost for ever (expired and taken, released, or unknown). An expired lease that
   * nobody took meanwhile is renewed: the token still names the newest grant.
   */
  renew(
    leases: readonly { readonly name: string; readonly token: bigint }[],
    options: Abortable & { readonly ttlMs: number },
  ): Promise<readonly boolean[]>;
  /**
   * Ends the lease now. False when this token did not hold it any more (lapsed and taken, released, or unknown);
   * nothing is changed then. An expired lease that nobody took is ended like any other: the token still names the
   * newest grant, so nobody was beside it.
   */
  release(lease: { readonly name: string; readonly token: bigint }, options?: Abortable): Promise<boolean>;
  /** The unexpired lease of this name, if there is one. */
  read(name: string, options?: Abortable): Promise<LeaseInfo | undefined>;
  /** The unexpired leases whose name starts with `prefix`, ordered by name, at most `limit` (default 1000). */
  list(
    prefix: string,
    options?: Abortable & {
      readonly limit?: number;
      /** As for `grant`: the release of each of them shall be told. Default false. */
      readonly awaitRelease?: boolean;
    },
  ): Promise<readonly LeaseInfo[]>;
  /**
   * Calls `listener` when a lease that was looked at with `awaitRelease` was released, until the returned function
   * is called. `name` is that of the lease, or ends in `/` for all leases right below it. It may be called for
   * nothing, and not at all when a lease expires or the connection was lost: look again when the lease ends.
   */
  onReleased(name: string, listener: () => void): () => void;
  /**
   * A place in line for `name`, only where the store hands a released lease to who waits first. Where it is missing,
   * wait for `onReleased`.
   */
  standInLine?(name: string, options: StandInLineOptions): LinePlace;
  /**
   * Succeeds only when `token` is the newest grant of `name` and unexpired, and keeps it so until `tx` ends
   * (a competing grant waits or fails). Makes a paused, deposed holder harmless.
   * @throws LeaseLostError otherwise; not retryable, roll back.
   */
  assertFence(lease: { readonly name: string; readonly token: bigint }, tx: Tx): Promise<void>;
  /** Draws a token from the same line that grants use. For records that carry their own fence (a job row). */
  nextToken(tx: Tx): Promise<bigint>;
  /**
   * Ends every lease at once. Only for a store that proves by other means that no former owner can be alive,
   * as the embedded database does with its directory lock. Returns how many were ended.
   */
  revokeAll(options?: Abortable): Promise<number>;
}
