export { type AccessRules, allowsOrigin, type Identity, type LiveAction } from "./authorization.ts";
export type {
  ChannelBounds,
  ChannelEvent,
  ChannelFollower,
  ChannelLog,
  ChannelRead,
  EventDraft,
  Following,
  Published,
} from "./channel-log.ts";
export { type DrainOptions, LiveServer, type ServerEvent } from "./live-server.ts";
export { MemoryChannelLog, type MemoryChannelLogOptions } from "./memory-channel-log.ts";
export type { LiveStats } from "./metrics.ts";
export type { NewEvent } from "./server-core.ts";
export type { LiveServerOptions } from "./server-options.ts";
export { StoredChannelLog, type StoredChannelLogOptions } from "./stored-channel-log.ts";
