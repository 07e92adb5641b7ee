import type { WirePosition } from "@holdfast/coordination";
import type { SubscribeAnswer, WireEvent } from "../model/messages.ts";
import type { Gap } from "./events.ts";

/** Asked so often in a row without getting any further, the hole is announced instead. */
const RECOVERY_MAX_COUNT = 3;
/** Ids of events without a position that are remembered to drop repeats. */
const SEEN_MAX_COUNT = 256;

export type Verdict =
  | { readonly kind: "deliver" }
  | { readonly kind: "drop" }
  /** Ask the server again from `position`. */
  | { readonly kind: "recover" }
  /** Deliver, and say that something is missing before it. */
  | { readonly kind: "gap"; readonly gap: Gap };

/**
 * The reader's side of one channel: takes exactly the next event, drops what it has had, and asks for what is
 * missing. Pure: it decides, the client acts.
 */
export class ChannelLine {
  readonly channel: string;
  #epoch: string | undefined;
  #offset = 0n;
  /** Asked to recover, not answered yet: what comes meanwhile comes again. */
  #isAsking = false;
  #recoverCount = 0;
  /** Events up to here were missed and made up for. */
  #recoveredTo = 0n;
  /** In order, the oldest first. */
  readonly #seen = new Set<string>();

  constructor(channel: string) {
    this.channel = channel;
  }

  /** The position to resume from, once the server gave one. */
  get position(): WirePosition | undefined {
    return this.#epoch === undefined ? undefined : { epoch: this.#epoch, offset: this.#offset.toString() };
  }

  /** Sets where to begin. Does nothing once there is a position. */
  startAfter(position: WirePosition): void {
    if (this.#epoch === undefined) this.#moveTo(position);
  }

  /** Whether the newest event was missed first and made up for. */
  get isRecovering(): boolean {
    return this.#offset <= this.#recoveredTo;
  }

  /** The connection is gone: a recovery that was asked for will not be answered. */
  onDisconnected(): void {
    this.#isAsking = false;
    this.#recoverCount = 0;
  }

  /** Takes the server's answer to a subscribe. Returns the gap to announce, if any. */
  onAnswer(answer: Exclude<SubscribeAnswer, { state: "refused" }>): Gap | undefined {
    this.#isAsking = false;
    if (answer.state === "recovered") {
      // Events may have come while the answer was on its way: never go back.
      const isFurther =
        answer.position.epoch === this.#epoch && this.#offset > BigInt(answer.position.offset);
      if (!isFurther) this.#moveTo(answer.position);
      this.#recoveredTo = BigInt(answer.upTo);
      return undefined;
    }
    this.#moveTo(answer.position);
    return answer.state === "reset" ? { channel: this.channel, reason: answer.reason } : undefined;
  }

  onReset(reason: Gap["reason"], position: WirePosition): Gap {
    this.#isAsking = false;
    this.#moveTo(position);
    return { channel: this.channel, reason };
  }

  onEvent(event: WireEvent): Verdict {
    const { epoch, offset, id } = event;
    if (epoch === undefined || offset === undefined) return this.#onUnnumbered(id);
    const next = BigInt(offset);
    if (this.#epoch === undefined) {
      this.#moveTo({ epoch, offset });
      return this.#onUnnumbered(id);
    }
    // Epoch 0: the channel did not exist yet. Its first event says which life this is.
    if (this.#epoch === "0" && this.#offset === 0n && next === 1n) this.#epoch = epoch;
    if (epoch === this.#epoch) {
      if (next <= this.#offset) return { kind: "drop" };
      if (next === this.#offset + 1n) {
        this.#offset = next;
        this.#recoverCount = 0;
        return this.#onUnnumbered(id);
      }
    }
    if (this.#isAsking) return { kind: "drop" };
    if (this.#recoverCount < RECOVERY_MAX_COUNT) {
      this.#recoverCount += 1;
      this.#isAsking = true;
      return { kind: "recover" };
    }
    this.#recoverCount = 0;
    this.#moveTo({ epoch, offset });
    return { kind: "gap", gap: { channel: this.channel, reason: "hole" } };
  }

  /** Events from another tab, and those of servers without positions: told apart by their id alone. */
  onTabEvent(id: string | undefined): Verdict {
    return this.#onUnnumbered(id);
  }

  #onUnnumbered(id: string | undefined): Verdict {
    if (id === undefined) return { kind: "deliver" };
    if (this.#seen.has(id)) return { kind: "drop" };
    this.#seen.add(id);
    if (this.#seen.size > SEEN_MAX_COUNT) {
      for (const oldest of this.#seen) {
        this.#seen.delete(oldest);
        break;
      }
    }
    return { kind: "deliver" };
  }

  #moveTo(position: WirePosition): void {
    this.#epoch = position.epoch;
    this.#offset = BigInt(position.offset);
    this.#recoveredTo = 0n;
  }
}
