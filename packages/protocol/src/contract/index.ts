export {
  definePush,
  defineRequest,
  defineStream,
  type InputOf,
  type ItemOf,
  type MessagePriority,
  type OutputOf,
  type PayloadOf,
  type PushDefinition,
  type RequestDefinition,
  SCOPES,
  type Scope,
  type StreamDefinition,
} from "./definition.ts";
export * from "./job-event.ts";
export * from "./job-spec.ts";
export * from "./jobs.ts";
export * from "./shapes.ts";
export * from "./workers.ts";
