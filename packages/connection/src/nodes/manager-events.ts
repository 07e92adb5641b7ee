import { channel } from "node:diagnostics_channel";
import { Emitter } from "@holdfast/kernel";
import type { CloseReason } from "../pool/pool-stats.ts";

/** What happens to the connections and nodes of a client. `nodeId` as in the configuration. */
export interface ManagerEvents {
  connectionOpened: { readonly nodeId: number; readonly connectionId: number };
  connectionClosed: { readonly nodeId: number; readonly connectionId: number; readonly reason: CloseReason };
  nodeAdded: { readonly nodeId: number; readonly host: string };
  nodeRemoved: { readonly nodeId: number; readonly host: string };
  nodeEjected: { readonly nodeId: number; readonly host: string; readonly forMs: number };
  nodeRestored: { readonly nodeId: number; readonly host: string };
  nodeHeld: { readonly nodeId: number; readonly host: string };
  nodeReleased: { readonly nodeId: number; readonly host: string };
  nodeDraining: { readonly nodeId: number; readonly host: string };
  /** A request failed and will be sent again after `delayMs`. */
  retrying: { readonly attempt: number; readonly delayMs: number; readonly code: string | undefined };
  hedged: { readonly request: string; readonly nodeId: number };
}

/**
 * Also published on the diagnostics channels `holdfast.connection.<event>`, for tools that watch a process without
 * touching its code. Costs one check where nobody subscribed.
 */
export class ManagerEmitter extends Emitter<ManagerEvents> {
  override emit<K extends keyof ManagerEvents>(name: K, event: ManagerEvents[K]): void {
    super.emit(name, event);
    const diagnostics = channel(`holdfast.connection.${name}`);
    if (diagnostics.hasSubscribers) diagnostics.publish(event);
  }
}
