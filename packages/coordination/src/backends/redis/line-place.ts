import { type Abortable, type Clock, InvalidInputError } from "@holdfast/kernel";
import type { GrantOutcome, HandedLease, LinePlace, StandInLineOptions } from "../../lease/leases.ts";
import { type GrantReply, toOutcome } from "./grant-reply.ts";

/** How often a waiter shows that it is alive. It also finds what a lost message would have told it. */
const LOOK_EVERY_MS = 2000;
/** A place outlives two looks that failed; then who waits behind it moves up. */
const PLACE_KEPT_MS = 3 * LOOK_EVERY_MS;
/** Of a lease that was handed over: what is lost when its new holder died while it waited. */
const TERM_MS = 2000;
/** One place for each process that waits; a release reads the line, so it stays short. */
const LINE_MAX_COUNT = 64;

export interface LineTerms {
  readonly placeMs: number;
  readonly termMs: number;
  readonly lineMaxCount: number;
}

interface LinePlaceParts {
  readonly clock: Clock;
  readonly ask: (terms: LineTerms, signal: AbortSignal | undefined) => Promise<GrantReply>;
  readonly listen: (listener: (news: unknown) => void) => () => void;
  readonly leave: () => void;
}

/**
 * A place in the line of one lease.
 *
 * A lease that is handed over counts from the store's time of that. Each look tells what the store's clock showed at
 * some moment after it was asked for; so the store's time T was, by our clock, no earlier than asking plus (T - shown).
 * Counted from there a lease never looks longer than it is.
 */
export class RedisLinePlace implements LinePlace {
  readonly lookEveryMs = LOOK_EVERY_MS;
  readonly #name: string;
  readonly #options: StandInLineOptions;
  readonly #parts: LinePlaceParts;
  readonly #stopListening: () => void;
  #shown: { readonly askedAt: number; readonly micros: number } | undefined;
  #isEnded = false;

  constructor(name: string, options: StandInLineOptions, parts: LinePlaceParts) {
    this.#name = name;
    this.#options = options;
    this.#parts = parts;
    this.#stopListening = parts.listen((news) => options.onNews(this.#toHanded(news)));
  }

  async look(options: Abortable = {}): Promise<GrantOutcome> {
    if (this.#isEnded) throw new InvalidInputError("place", "ended", "a place in line that was not ended");
    const askedAt = this.#parts.clock.monotonicNow();
    const terms = { placeMs: PLACE_KEPT_MS, termMs: TERM_MS, lineMaxCount: LINE_MAX_COUNT };
    const reply = await this.#parts.ask(terms, options.signal);
    if (typeof reply !== "string") this.#shown = { askedAt, micros: Number(reply[4]) };
    return toOutcome(reply, this.#name, this.#options);
  }

  end({ isGranted }: { readonly isGranted: boolean }): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#stopListening();
    if (!isGranted) this.#parts.leave();
  }

  #toHanded(news: unknown): HandedLease | undefined {
    const message = news as
      | { readonly token?: unknown; readonly ttl?: unknown; readonly at?: unknown }
      | undefined;
    if (typeof message?.token !== "string" || this.#shown === undefined) return undefined;
    const sinceShownMs = (Number(message.at) - this.#shown.micros) / 1000;
    const ttlMs = Number(message.ttl);
    if (!Number.isFinite(sinceShownMs) || !(ttlMs > 0)) return undefined;
    return {
      grant: { name: this.#name, owner: this.#options.owner, token: BigInt(message.token), ttlMs },
      // A clock of the store that was set forward must not make it later than now.
      askedAt: Math.min(this.#parts.clock.monotonicNow(), this.#shown.askedAt + sinceShownMs),
    };
  }
}
