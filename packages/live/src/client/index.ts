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
export type { Change, RowChange, ValueChange } from "./optimistic/change.ts";
export type {
  MutateOptions,
  Mutation,
  Mutators,
  OptimisticStoreOptions,
  Refetch,
  SendContext,
} from "./optimistic/mutation.ts";
export {
  OfflineQueue,
  type OfflineQueueOptions,
  type QueuedMutation,
  type QueueStorage,
  webQueueStorage,
} from "./optimistic/offline-queue.ts";
export { OptimisticStore } from "./optimistic/optimistic-store.ts";
export type { TabLink } from "./optimistic/overlay-message.ts";
export { type QueryKey, startsWith } from "./optimistic/query-key.ts";
export type { Platform, TabChannelLike, WebSocketLike } from "./platform.ts";
export { type LocksLike, type ShareSocketOptions, shareSocket } from "./shared/share-socket.ts";
export { initSharedClient, sharedClient } from "./shared-client.ts";
