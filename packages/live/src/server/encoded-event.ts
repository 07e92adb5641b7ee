import { toWirePosition } from "@holdfast/coordination";
import type { ChannelEvent } from "./channel-log.ts";
import { textFrame } from "./text-frame.ts";

/**
 * An event as it goes out, made once for all receivers and once for the whole time the event is kept: the live
 * broadcast and every later recovery share the same bytes.
 */
export class EncodedEvent {
  static readonly #known = new WeakMap<ChannelEvent, EncodedEvent>();
  readonly #event: ChannelEvent;
  #text: string | undefined;
  #frame: Buffer | undefined;
  #simpleFrame: Buffer | undefined;

  private constructor(event: ChannelEvent) {
    this.#event = event;
  }

  static of(event: ChannelEvent): EncodedEvent {
    let encoded = EncodedEvent.#known.get(event);
    if (encoded === undefined) {
      encoded = new EncodedEvent(event);
      EncodedEvent.#known.set(event, encoded);
    }
    return encoded;
  }

  /** One frame with all events, for a client of either form. */
  static framesOf(events: readonly ChannelEvent[], form: "simple" | "full"): Buffer {
    const [first] = events;
    const frameOf = (event: ChannelEvent): Buffer => {
      const encoded = EncodedEvent.of(event);
      return form === "full" ? encoded.frame : encoded.simpleFrame;
    };
    return events.length === 1 && first !== undefined ? frameOf(first) : Buffer.concat(events.map(frameOf));
  }

  /** The event of the second form, as JSON. */
  get text(): string {
    if (this.#text === undefined) {
      const { id, ts, origin, position } = this.#event;
      const { epoch, offset } = toWirePosition(position);
      const rest = JSON.stringify({ id, offset, epoch, ts, ...(origin === undefined ? {} : { origin }) });
      this.#text = `${this.#head()},${rest.slice(1)}`;
    }
    return this.#text;
  }

  /** The WebSocket frame of the second form. */
  get frame(): Buffer {
    this.#frame ??= textFrame(this.text);
    return this.#frame;
  }

  /** The WebSocket frame of the simple form. */
  get simpleFrame(): Buffer {
    this.#simpleFrame ??= textFrame(`${this.#head()}}`);
    return this.#simpleFrame;
  }

  #head(): string {
    const { channel, event, payloadText } = this.#event;
    return `{"channel":${JSON.stringify(channel)},"event":${JSON.stringify(event)},"payload":${payloadText}`;
  }
}
