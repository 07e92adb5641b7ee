import { type Abortable, newId, TaskGroup } from "@holdfast/kernel";
import { EventTooLargeError, InvalidMessageError } from "../errors.ts";
import { checkChannel } from "../model/limits.ts";
import type { EventOrigin, Payload } from "../model/messages.ts";
import type { Channel } from "./channel.ts";
import { ChannelHub } from "./channel-hub.ts";
import type { EventDraft, Published } from "./channel-log.ts";
import { Gatekeeper } from "./gatekeeper.ts";
import { LiveCounters } from "./metrics.ts";
import { PageFrames } from "./page-frames.ts";
import { PresenceBook } from "./presence-book.ts";
import type { LiveSettings } from "./server-options.ts";
import { Subscription, type Writer } from "./subscription.ts";

/** An event to publish. */
export interface NewEvent {
  readonly channel: string;
  readonly event: string;
  /** Plain JSON. Default `{}`. */
  readonly payload?: Payload;
  /** Default: a random one. Clients drop a second event of the same id. */
  readonly id?: string;
  readonly origin?: EventOrigin;
  readonly idempotencyKey?: string;
}

/** What the name, the id, the position and the origin of an event take at most besides channel and payload. */
const EVENT_OVERHEAD_BYTES = 512;

/** What all connections and requests of one server share. */
export class ServerCore {
  readonly settings: LiveSettings;
  readonly counters = new LiveCounters();
  readonly hub: ChannelHub;
  readonly gatekeeper: Gatekeeper;
  readonly presence: PresenceBook;
  readonly tasks: TaskGroup;
  readonly #pages = new PageFrames();

  constructor(settings: LiveSettings) {
    this.settings = settings;
    this.hub = new ChannelHub(settings.log, settings.logger);
    this.gatekeeper = new Gatekeeper(settings);
    this.tasks = new TaskGroup({ logger: settings.logger });
    this.presence = new PresenceBook(settings, this.tasks);
  }

  /**
   * @throws InvalidChannelError, InvalidMessageError, EventTooLargeError; nothing was published then.
   * @throws what the log throws.
   */
  async publish(events: readonly NewEvent[], options: Abortable = {}): Promise<readonly Published[]> {
    const published = await this.settings.log.publish(
      events.map((event) => this.#draftOf(event)),
      options,
    );
    for (const { isRepeat } of published) if (!isRepeat) this.counters.eventsIn += 1;
    return published;
  }

  subscribe(channel: Channel, writer: Writer): Subscription {
    const { log, logger } = this.settings;
    return new Subscription({ channel, log, writer, logger, pages: this.#pages });
  }

  #draftOf(event: NewEvent): EventDraft {
    checkChannel(event.channel);
    if (event.event === "" || event.event.length > 255) {
      throw new InvalidMessageError("an event name must have 1 to 255 characters");
    }
    const payloadText = toJsonObject(event.payload ?? {});
    const { eventMaxBytes } = this.settings.limits;
    const bytes =
      Buffer.byteLength(payloadText) +
      Buffer.byteLength(event.channel) +
      event.event.length +
      EVENT_OVERHEAD_BYTES;
    if (bytes > eventMaxBytes) {
      throw new EventTooLargeError(
        `an event on channel "${event.channel}" has about ${bytes} bytes; ${eventMaxBytes} are allowed: send an id and let clients fetch`,
      );
    }
    return {
      channel: event.channel,
      event: event.event,
      payloadText,
      id: event.id ?? newId("e", this.settings.random),
      ...(event.origin === undefined ? {} : { origin: event.origin }),
      ...(event.idempotencyKey === undefined ? {} : { idempotencyKey: event.idempotencyKey }),
    };
  }
}

const toJsonObject = (payload: Payload): string => {
  let text: string | undefined;
  try {
    text = JSON.stringify(payload);
  } catch (cause) {
    throw new InvalidMessageError("the payload cannot be written as JSON", { cause });
  }
  if (!text?.startsWith("{")) throw new InvalidMessageError("the payload must be a plain object");
  return text;
};
