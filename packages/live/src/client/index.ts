export {
  ConnectionClosedError,
  HandlerFailedError,
  InvalidChannelError,
  MutationConflictError,
  NotConnectedError,
  TabChannelError,
  UnauthenticatedError,
} from "../errors.ts";
export {
  type EventOrigin,
  ORIGIN_CLIENT_HEADER,
  ORIGIN_MUTATION_HEADER,
  type Payload,
  type Presence,
  type PublishAnswer,
} from "../model/messages.ts";
export { BroadcastClient } from "./broadcast-client.ts";
export { applyPresence } from "./channel-entry.ts";
export type { BroadcastClientOptions } from "./client-options.ts";
export type {
  BroadcastEvent,
  ConnectionState,
  EventHandler,
  Gap,
  PresenceChange,
  StateDetail,
} from "./events.ts";
export {
  type MutateOptions,
  type Mutation,
  type Mutators,
  OptimisticStore,
  type OptimisticStoreOptions,
  type Refetch,
  type SendContext,
} from "./optimistic/optimistic-store.ts";
export type { Change } from "./optimistic/overlay-log.ts";
export type { TabLink } from "./optimistic/overlay-message.ts";
export { type QueryKey, startsWith } from "./optimistic/query-key.ts";
export type { Platform, TabChannelLike, WebSocketLike } from "./platform.ts";
export { initSharedClient, sharedClient } from "./shared-client.ts";
