import { HoldfastError, type HoldfastErrorInit } from "@holdfast/kernel";

/** A message is not one of the protocol, or a value in it cannot be used. Nothing was done. Not retryable. */
export class InvalidMessageError extends HoldfastError {
  override readonly name = "InvalidMessageError";
  readonly code = "LIVE_INVALID_MESSAGE";
}

/** A channel name is empty, longer than 255 characters or has control characters. Not retryable. */
export class InvalidChannelError extends HoldfastError {
  override readonly name = "InvalidChannelError";
  readonly code = "LIVE_INVALID_CHANNEL";
}

/** A connection may follow only so many channels (128 by default). The others go on. Not retryable. */
export class TooManyChannelsError extends HoldfastError {
  override readonly name = "TooManyChannelsError";
  readonly code = "LIVE_TOO_MANY_CHANNELS";
}

/** A client's frame is larger than the limit (64 KiB by default). Not retryable. */
export class FrameTooLargeError extends HoldfastError {
  override readonly name = "FrameTooLargeError";
  readonly code = "LIVE_FRAME_TOO_LARGE";
}

/** An event is larger than the limit (256 KiB by default); it was not published. Not retryable. */
export class EventTooLargeError extends HoldfastError {
  override readonly name = "EventTooLargeError";
  readonly code = "LIVE_EVENT_TOO_LARGE";
}

/** The token is missing, wrong or expired. Not retryable with the same token. */
export class UnauthenticatedError extends HoldfastError {
  override readonly name = "UnauthenticatedError";
  readonly code = "LIVE_UNAUTHENTICATED";
}

/** The identity may not do this on this channel. Other channels are unaffected. Not retryable. */
export class ForbiddenError extends HoldfastError {
  override readonly name = "ForbiddenError";
  readonly code = "LIVE_FORBIDDEN";
}

/** The client is not connected, so the call could not be sent. Retryable after `connected`. */
export class NotConnectedError extends HoldfastError {
  override readonly name = "NotConnectedError";
  readonly code = "LIVE_NOT_CONNECTED";

  constructor(message: string, init: HoldfastErrorInit = {}) {
    super(message, { retryable: true, ...init });
  }
}

/** The connection ended; `details` hold the close code and reason. Retryable unless the code is terminal. */
export class ConnectionClosedError extends HoldfastError {
  override readonly name = "ConnectionClosedError";
  readonly code = "LIVE_CONNECTION_CLOSED";
}

/** A handler or listener of the application threw; the cause is what it threw. Others were still called. Not retryable. */
export class HandlerFailedError extends HoldfastError {
  override readonly name = "HandlerFailedError";
  readonly code = "LIVE_HANDLER_FAILED";
}

/** Another tab could not be told, because the payload cannot be cloned or the tab channel failed. Not retryable. */
export class TabChannelError extends HoldfastError {
  override readonly name = "TabChannelError";
  readonly code = "LIVE_TAB_CHANNEL";
}

/** The server refused a mutation because the value changed meanwhile (409); `serverValue` is what it holds now. Not retryable as it is. */
export class MutationConflictError extends HoldfastError {
  override readonly name = "MutationConflictError";
  readonly code = "LIVE_MUTATION_CONFLICT";
  readonly serverValue: unknown;

  constructor(message: string, init: HoldfastErrorInit & { readonly serverValue: unknown }) {
    super(message, init);
    this.serverValue = init.serverValue;
  }
}
