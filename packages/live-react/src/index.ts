export { BroadcastProvider, type BroadcastProviderProps, useBroadcast } from "./broadcast-provider.tsx";
export { type ChannelOptions, useBroadcastState, useChannel, usePresence } from "./connection-hooks.ts";
export { MissingProviderError } from "./errors.ts";
export { defaultKeyMapper, entityIdOf, type KeyMapper } from "./invalidation-keys.ts";
export {
  type Invalidation,
  type InvalidationOptions,
  type QueryCache,
  useBroadcastInvalidation,
} from "./use-broadcast-invalidation.ts";
export { type OptimisticMutation, useOptimisticMutation, useOptimisticValue } from "./use-optimistic.ts";
