import type { Peer } from "@holdfast/connection";
import { type JobEventsPush, jobEvents, jobEventsAll } from "@holdfast/protocol/contract";

export interface PushLaneOptions {
  /** No push is taken while this much waits on the connection. */
  readonly bufferedMaxBytes: number;
  /** About how large one message may get. */
  readonly pushMaxBytes: number;
  /** What waited for the end of a turn has left: there may be room again. */
  readonly onFlushed: () => void;
}

/** Subscriptions in one message, as the contract has it. */
const FEEDS_MAX_COUNT = 1_000;

/**
 * The pushes of one connection. What is pushed within one turn to subscriptions that take it so leaves in one
 * message: after a commit a hundred jobs have something to say to the same gate.
 */
export class PushLane {
  readonly peer: Peer;
  readonly #options: PushLaneOptions;
  #waiting: JobEventsPush[] = [];
  #waitingBytes = 0;
  #isPlanned = false;

  constructor(peer: Peer, options: PushLaneOptions) {
    this.peer = peer;
    this.#options = options;
  }

  /** Whether a push is taken now. When not, the connection's `onDrain` says that it may be again. */
  get hasRoom(): boolean {
    return this.peer.bufferedBytes + this.#waitingBytes <= this.#options.bufferedMaxBytes;
  }

  /** Pushes alone. False when it was not sent. */
  push(payload: JobEventsPush): boolean {
    // What waits was pushed before.
    this.flush();
    return this.#waiting.length === 0 && this.peer.push(jobEvents, payload);
  }

  /** Pushes with what else is pushed in this turn. False when the connection is closed or too much waits. */
  pushTogether(payload: JobEventsPush, sizeBytes: number): boolean {
    if (!this.peer.isOpen || !this.hasRoom) return false;
    const isFull =
      this.#waiting.length >= FEEDS_MAX_COUNT ||
      (this.#waiting.length > 0 && this.#waitingBytes + sizeBytes > this.#options.pushMaxBytes);
    if (isFull) this.flush();
    // The connection refuses for now: what waits stays first.
    if (this.#waiting.length >= FEEDS_MAX_COUNT) return false;
    this.#waiting.push(payload);
    this.#waitingBytes += sizeBytes;
    if (!this.#isPlanned) {
      this.#isPlanned = true;
      void Promise.resolve().then(() => {
        this.#isPlanned = false;
        this.flush();
        if (this.hasRoom) this.#options.onFlushed();
      });
    }
    return true;
  }

  /** Sends what waits, unless the connection's own limit forbids it: then call again when it has drained. */
  flush(): void {
    const [first] = this.#waiting;
    if (first === undefined) return;
    const isSent =
      this.#waiting.length === 1
        ? this.peer.push(jobEvents, first)
        : this.peer.push(jobEventsAll, { feeds: this.#waiting });
    if (!isSent && this.peer.isOpen) return;
    this.#waiting = [];
    this.#waitingBytes = 0;
  }
}
