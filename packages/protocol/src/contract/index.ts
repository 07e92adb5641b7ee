export {
  definePush,
  defineRequest,
  type InputOf,
  type MessagePriority,
  type OutputOf,
  type PayloadOf,
  type PushDefinition,
  type RequestDefinition,
  SCOPES,
  type Scope,
} from "./definition.ts";
export * from "./job-event.ts";
export * from "./job-spec.ts";
export * from "./jobs.ts";
export * from "./shapes.ts";
export * from "./workers.ts";
