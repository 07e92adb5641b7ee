import type { IncomingMessage, ServerResponse } from "node:http";
import { toWirePosition } from "@holdfast/coordination";
import { OverloadedError } from "@holdfast/kernel";
import { ForbiddenError, InvalidMessageError } from "../errors.ts";
import { ORIGIN_CLIENT_HEADER, ORIGIN_MUTATION_HEADER, type PublishRequest } from "../model/messages.ts";
import { isObject, parsePublish } from "../model/parse.ts";
import { allowsOrigin } from "./authorization.ts";
import type { Published } from "./channel-log.ts";
import { answerJson, bearerToken, headerOf, readJson } from "./http-answer.ts";
import type { NewEvent, ServerCore } from "./server-core.ts";

const BATCH_MAX_COUNT = 100;
const BATCH_MAX_BYTES = 4_194_304;
/** Names and keys around an event's payload. */
const BODY_OVERHEAD_BYTES = 4_096;

/** `event_type` is what older publishers call `event`. */
const toRequest = (value: unknown): PublishRequest => {
  const renamed =
    isObject(value) && value["event"] === undefined && value["event_type"] !== undefined
      ? { ...value, event: value["event_type"] }
      : value;
  const request = parsePublish(renamed);
  if (request === undefined) {
    throw new InvalidMessageError("an event must be {channel, event, payload?, mutation?, idempotencyKey?}");
  }
  return request;
};

const toAnswer = (core: ServerCore, request: PublishRequest, published: Published): object => ({
  status: "broadcasted",
  channel: request.channel,
  event: request.event,
  subscriberCount: core.hub.holderCount(request.channel),
  id: published.id,
  ...toWirePosition(published.position),
});

/** `POST /broadcast` and `POST /broadcast/batch`: publish over HTTP, with a token and the permission to. */
export const servePublish = async (
  core: ServerCore,
  request: IncomingMessage,
  response: ServerResponse,
  form: "single" | "batch",
): Promise<void> => {
  const { settings, gatekeeper } = core;
  // A page of another origin must not publish with what the browser adds by itself.
  if (!allowsOrigin(request.headers, { ...settings, missingOrigin: "allow" })) {
    throw new ForbiddenError("this Origin may not publish");
  }
  if (!/^application\/json\b/i.test(request.headers["content-type"] ?? "")) {
    answerJson(response, 415, { error: { code: "LIVE_INVALID_MESSAGE", message: "send application/json" } });
    return;
  }
  const identity = await gatekeeper.identify({
    token: bearerToken(request),
    remoteAddress: request.socket.remoteAddress,
  });
  const waitMs = settings.publishWaitMs(identity.user);
  if (waitMs !== undefined) throw new OverloadedError("publishing", 0, { retryAfterMs: waitMs });
  const maxBytes = form === "batch" ? BATCH_MAX_BYTES : settings.limits.eventMaxBytes + BODY_OVERHEAD_BYTES;
  const body = await readJson(request, maxBytes);
  const values = form === "single" ? [body] : isObject(body) ? body["events"] : undefined;
  if (!Array.isArray(values) || values.length === 0 || values.length > BATCH_MAX_COUNT) {
    throw new InvalidMessageError(`a batch must be {events: [1 to ${BATCH_MAX_COUNT} events]}`);
  }
  const requests = values.map(toRequest);
  for (const { channel } of requests) {
    await gatekeeper.permit({ identity, action: "publish", channel, token: undefined });
  }
  const headerKey = headerOf(request, "idempotency-key");
  const client = headerOf(request, ORIGIN_CLIENT_HEADER);
  const headerMutation = headerOf(request, ORIGIN_MUTATION_HEADER);
  const events = requests.map(({ channel, event, payload, ...rest }, index): NewEvent => {
    const mutation = rest.mutation ?? headerMutation;
    // One key for a batch covers each of its events on its own.
    const key = rest.idempotencyKey ?? (headerKey && form === "batch" ? `${headerKey}#${index}` : headerKey);
    const hasOrigin = client !== undefined || mutation !== undefined;
    return {
      channel,
      event,
      payload,
      ...(hasOrigin
        ? {
            origin: {
              ...(client === undefined ? {} : { client }),
              ...(mutation === undefined ? {} : { mutation }),
            },
          }
        : {}),
      ...(key === undefined ? {} : { idempotencyKey: key }),
    };
  });
  const published = await core.publish(events);
  const answers = requests.map((each, index) => toAnswer(core, each, published[index] as Published));
  answerJson(response, 200, form === "single" ? answers[0] : { status: "broadcasted", events: answers });
};
