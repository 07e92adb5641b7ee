import type { WirePosition } from "@holdfast/coordination";
import type { WireError } from "@holdfast/kernel";
import type { LiveLimits } from "./limits.ts";

/**
 * The wire, in JSON text frames. The simple form is `{subscribe, unsubscribe}` from the client and
 * `{channel, event, payload}` from the server; a connection that never says hello sees nothing else. A hello
 * opens the second form: the same messages with more in them, told apart by their keys.
 */
export const PROTOCOL_VERSION = 2;

/** Plain JSON. Typed loosely, because it is the application's own. */
export type Payload = Readonly<Record<string, unknown>>;

/** Who caused an event: a client, and the mutation it was part of. Headers of an HTTP call carry the same two. */
export interface EventOrigin {
  readonly client?: string;
  readonly mutation?: string;
}

export const ORIGIN_CLIENT_HEADER = "x-live-client";
export const ORIGIN_MUTATION_HEADER = "x-live-mutation";

/** An event as it crosses the wire. Everything after `payload` is there in the second form only. */
export interface WireEvent {
  readonly channel: string;
  readonly event: string;
  readonly payload: Payload;
  readonly id?: string;
  readonly offset?: string;
  readonly epoch?: string;
  readonly ts?: number;
  readonly origin?: EventOrigin;
}

export interface SubscribeRequest {
  readonly channel: string;
  /** Go on after this position; without it, from now on. */
  readonly position?: WirePosition;
  /** A token for this channel alone, handed to the server's `authorize`. */
  readonly token?: string;
  /** Be present in the channel with this data, and be told who else is. Without it, be present no longer. */
  readonly presence?: Payload;
}

export interface PublishRequest {
  readonly channel: string;
  readonly event: string;
  readonly payload: Payload;
  readonly mutation?: string;
  readonly idempotencyKey?: string;
}

export interface Hello {
  readonly version: number;
  /** The client's own name for itself, kept over reconnects. */
  readonly client?: string;
  readonly token?: string;
}

/** What a client says. One frame may carry several of the keys. */
export interface ClientFrame {
  readonly id?: number;
  readonly hello?: Hello;
  readonly subscribe?: readonly SubscribeRequest[];
  readonly unsubscribe?: readonly string[];
  readonly publish?: PublishRequest;
  readonly refresh?: { readonly token: string };
  readonly pong?: number;
  readonly ping?: number;
}

export type ResetReason = "trimmed" | "epoch-changed" | "ahead-of-head";

/** What became of one channel of a subscribe. */
export type SubscribeAnswer =
  | {
      readonly channel: string;
      /** From now on. */
      readonly state: "new";
      readonly position: WirePosition;
      readonly present?: readonly Presence[];
    }
  | {
      readonly channel: string;
      /** What was missed after `position` follows. */
      readonly state: "recovered";
      readonly position: WirePosition;
      /** Offset of the newest event that was missed. */
      readonly upTo: string;
      readonly present?: readonly Presence[];
    }
  | {
      readonly channel: string;
      /** The position could not be continued from: fetch afresh; events go on after `position`. */
      readonly state: "reset";
      readonly reason: ResetReason;
      readonly position: WirePosition;
      readonly present?: readonly Presence[];
    }
  | { readonly channel: string; readonly state: "refused"; readonly error: WireError };

/** One connection that is present in a channel. */
export interface Presence {
  /** One connection; a client with two connections is there twice. */
  readonly key: string;
  readonly client: string;
  readonly user?: string;
  readonly data: Payload;
}

export interface Welcome {
  readonly version: number;
  readonly client: string;
  /** The server's wall clock, milliseconds. */
  readonly time: number;
  readonly pingIntervalMs: number;
  readonly pingTimeoutMs: number;
  readonly limits: LiveLimits;
  /** When the token must have been refreshed, milliseconds by the server's wall clock. */
  readonly expiresAt?: number;
}

export interface PublishAnswer extends WirePosition {
  readonly id: string;
}

/** What a server says. Exactly one of the keys, or an event. */
export type ServerFrame =
  | { readonly welcome: Welcome }
  | {
      readonly ok: number;
      readonly channels?: readonly SubscribeAnswer[];
      readonly published?: PublishAnswer;
      readonly expiresAt?: number;
    }
  | { readonly error: WireError; readonly id?: number; readonly channel?: string }
  | {
      readonly reset: {
        readonly channel: string;
        readonly reason: ResetReason;
        readonly position: WirePosition;
      };
    }
  | {
      readonly presence: { readonly channel: string; readonly join?: Presence; readonly leave?: Presence };
    }
  | { readonly bye: { readonly reason: string; readonly spreadMs: number } }
  | { readonly ping: number }
  | { readonly pong: number }
  | WireEvent;
