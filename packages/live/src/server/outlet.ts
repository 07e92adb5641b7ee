import type { CloseReason } from "../model/close-codes.ts";

/** The way to one client. Its queue is bounded: a frame that would exceed the bound closes the connection as slow. */
export interface Outlet {
  readonly isOpen: boolean;
  /** Bytes that have not left this process yet. */
  readonly queuedBytes: number;
  /** Never blocks. Nothing is written when the outlet is closing or becomes slow by this frame. */
  write(frame: Buffer): void;
  /** Resolves once the queue is empty or the outlet is closed. */
  drained(): Promise<void>;
  /** Says goodbye with the code, and lets go after a short time whatever the client does. Idempotent. */
  close(reason: CloseReason, text: string): void;
}
