import type { Clock, Timer } from "@holdfast/kernel";

export interface HeartbeatOptions {
  readonly clock: Clock;
  /** Silence after which a ping is sent, milliseconds; after twice this the other side counts as gone. */
  readonly intervalMs: number;
  readonly sendPing: () => void;
  readonly onSilence: (silentMs: number) => void;
}

/** The silence is looked at this often per interval. */
const LOOKS_COUNT = 2;

/**
 * Notices that the other side fell silent. Costs one flag per frame and one timer per connection: no clock is
 * read on the way of a frame, so the moment of a ping is exact to half an interval. No ping while frames flow.
 *
 * A look that comes late means that this process itself stood still (a long task, a suspended machine); what
 * was missed then is our silence, not theirs, and does not count.
 */
export class Heartbeat {
  readonly #options: HeartbeatOptions;
  #wasHeard = true;
  #silentCount = 0;
  #lookAt = 0;
  #timer: Timer | undefined;

  constructor(options: HeartbeatOptions) {
    this.#options = options;
    this.#plan();
  }

  /** A frame came in. */
  heard(): void {
    this.#wasHeard = true;
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #plan(): void {
    const { clock, intervalMs } = this.#options;
    this.#lookAt = clock.monotonicNow() + intervalMs / LOOKS_COUNT;
    this.#timer = clock.schedule(intervalMs / LOOKS_COUNT, () => this.#look(), { unref: true });
  }

  #look(): void {
    const { clock, intervalMs, sendPing, onSilence } = this.#options;
    const wasLate = clock.monotonicNow() - this.#lookAt > intervalMs / LOOKS_COUNT;
    if (this.#wasHeard) this.#silentCount = 0;
    else if (!wasLate) this.#silentCount += 1;
    this.#wasHeard = false;
    if (this.#silentCount >= 2 * LOOKS_COUNT) {
      this.#timer = undefined;
      onSilence((this.#silentCount * intervalMs) / LOOKS_COUNT);
      return;
    }
    if (this.#silentCount >= LOOKS_COUNT || wasLate) sendPing();
    this.#plan();
  }
}
