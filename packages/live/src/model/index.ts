export {
  ConnectionClosedError,
  EventTooLargeError,
  ForbiddenError,
  FrameTooLargeError,
  HandlerFailedError,
  InvalidChannelError,
  InvalidMessageError,
  MutationConflictError,
  NotConnectedError,
  TabChannelError,
  TooManyChannelsError,
  UnauthenticatedError,
} from "../errors.ts";
export { CLOSE_CODES, type CloseReason, isTerminalCode } from "./close-codes.ts";
export { channelProblem, checkChannel, DEFAULT_LIMITS, type LiveLimits } from "./limits.ts";
export {
  type ClientFrame,
  type EventOrigin,
  type Hello,
  ORIGIN_CLIENT_HEADER,
  ORIGIN_MUTATION_HEADER,
  type Payload,
  PROTOCOL_VERSION,
  type Presence,
  type PublishAnswer,
  type PublishRequest,
  type ResetReason,
  type ServerFrame,
  type SubscribeAnswer,
  type SubscribeRequest,
  type Welcome,
  type WireEvent,
} from "./messages.ts";
export {
  isObject,
  type Parsed,
  parseClientFrame,
  parseEvent,
  parsePublish,
  parseServerFrame,
  parseSimpleFrame,
  saysHello,
} from "./parse.ts";
