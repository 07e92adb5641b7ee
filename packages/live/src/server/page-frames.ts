import { keepNewest } from "@holdfast/kernel";
import { FrameCache } from "./channel.ts";
import type { ChannelEvent } from "./channel-log.ts";
import { EncodedEvent } from "./encoded-event.ts";

/** About so many characters of events go out in one write while a client catches up. */
const PIECE_LENGTH = 65_536;
/** Pieces that are kept because others will want them: at most some 4 MiB. */
const KEPT_MAX_COUNT = 64;

/** A part of a channel's history, ready to be written. */
export interface Piece {
  readonly events: readonly ChannelEvent[];
  readonly frames: FrameCache;
}

/** The bytes of parts of histories, made once: when a server was away, all its clients ask for the same ones. */
export class PageFrames {
  /** In the order of last use. */
  readonly #kept = new Map<string, FrameCache>();

  /** Divides a page of a channel's history into pieces. The same page is divided in the same way. */
  piecesOf(events: readonly ChannelEvent[]): readonly Piece[] {
    const pieces: Piece[] = [];
    let start = 0;
    let length = 0;
    for (const [index, { payloadText }] of events.entries()) {
      if (length > 0 && length + payloadText.length > PIECE_LENGTH) {
        pieces.push(this.#pieceOf(events.slice(start, index)));
        start = index;
        length = 0;
      }
      length += payloadText.length;
    }
    if (start < events.length) pieces.push(this.#pieceOf(start === 0 ? events : events.slice(start)));
    return pieces;
  }

  #pieceOf(events: readonly ChannelEvent[]): Piece {
    const { channel, position } = events[0] as ChannelEvent;
    const key = `${position.epoch} ${position.offset} ${events.length} ${channel}`;
    const frames = this.#kept.get(key) ?? new FrameCache((form) => EncodedEvent.framesOf(events, form));
    this.#kept.delete(key);
    this.#kept.set(key, frames);
    keepNewest(this.#kept, KEPT_MAX_COUNT);
    return { events, frames };
  }
}
