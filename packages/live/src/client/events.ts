import type { HoldfastError } from "@holdfast/kernel";
import type { EventOrigin, Payload, Presence, ResetReason } from "../model/messages.ts";

/** What a handler is given. */
export interface BroadcastEvent {
  readonly channel: string;
  readonly event: string;
  /** Always an object; empty when the publisher sent none. */
  readonly payload: Payload;
  readonly id?: string;
  readonly offset?: string;
  readonly epoch?: string;
  readonly ts?: number;
  readonly origin?: EventOrigin;
  /** `recovery`: it came while what was missed was made up for. `tab`: from another tab of this browser. */
  readonly via: "socket" | "tab" | "recovery";
}

export type EventHandler = (event: BroadcastEvent) => void;

export type ConnectionState = "disconnected" | "connecting" | "connected" | "reconnecting";

export interface StateDetail {
  /** Tries since the last success, 0 when there was none. */
  readonly attempt: number;
  /** How long until the next try, milliseconds; 0 when none is waiting. */
  readonly delayMs: number;
  readonly reason: string;
  /** True when the client will not try again by itself. */
  readonly terminal: boolean;
}

/** Events of a channel may be missing: whatever was read of it must be read afresh. */
export interface Gap {
  readonly channel: string;
  readonly reason: ResetReason | "hole";
}

export type PresenceChange =
  | { readonly kind: "snapshot"; readonly present: readonly Presence[] }
  | { readonly kind: "join"; readonly presence: Presence }
  | { readonly kind: "leave"; readonly presence: Presence };

/** What the listeners of a client get. */
export interface ClientEvents {
  readonly state: { readonly state: ConnectionState; readonly detail: StateDetail };
  readonly gap: Gap;
  /** The channel that begins. */
  readonly begin: string;
  readonly error: { readonly error: HoldfastError; readonly channel?: string };
  readonly tab: unknown;
}
